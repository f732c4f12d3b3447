"""docs/rules.md tells everything that a person may write, and its examples are right; so is the shipped one."""

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices

from automation.events import SemanticEvent
from automation.guards.forms import ERRNOS, GROUPS, OPERATIONS, Emergency, GuardForm, HighLoad, Maintenance, SystemForm
from automation.library import check
from automation.rules.book import BookForm
from automation.rules.forms import COMPARISONS, RULE_KEYS, RuleException, RuleForm, StateTest, Tree
from automation.rules.windows import Window
from tests.automation_rig import rig

REPOSITORY = Path(__file__).parent.parent
PAGE = (REPOSITORY / "docs/rules.md").read_text()
MODELS = (BookForm, RuleForm, GuardForm, RuleException, StateTest, Tree, Window, SystemForm)
SYSTEM = (Maintenance, Emergency, HighLoad)


@pytest.mark.parametrize("model", MODELS + SYSTEM)
def test_every_field_is_documented(model):
    """By each of its names."""
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        for spelling in alias.choices if isinstance(alias, AliasChoices) else [name]:
            if spelling not in ("highload", "path", "cel", "patterns", "machines"):
                assert re.search(rf"[`{{ ,]{re.escape(str(spelling))}[`:)]", PAGE), f"{model.__name__}.{spelling}"


def test_every_word_is_documented():
    """Operations and their groups, errors, comparisons, keys."""
    for word in (*OPERATIONS, *GROUPS, *ERRNOS, *COMPARISONS, *RULE_KEYS):
        assert word in ("*", "workflow") or f"`{word}`" in PAGE or f"{word}`" in PAGE, word


def test_the_examples_are_right(tmp_path):
    """Each block of YAML loads, all together."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        (tmp_path / f"b{number}.yaml").write_text(block)
    assert check([str(tmp_path)]) == []


async def test_the_shipped_rules_do_what_they_say(tmp_path):
    """A key that is read is noted, once a minute for each program, but not what ssh reads."""
    text = (REPOSITORY / "workflows/protect.yaml").read_text()
    async with rig(tmp_path, protect=text) as r:
        assert r.service.rules.names() == []
        await r.service.command("enable protect", 0)
        attrs = {"mode": "r"}
        for path, comm in (
            ("keys/a", "cat"),
            ("keys/a", "cat"),
            ("keys/a", "ssh"),
            ("keys/a.tmp", "cat"),
            ("x", "cat"),
        ):
            r.bus.publish(SemanticEvent("file.opened", path, uid=7, comm=comm, attrs=attrs))
        (run,) = await r.settled()
        assert run.status == "succeeded" and r.text("keys.log").endswith(" 7 cat keys/a\n"), run.error
        denied = [r.service.guards.judge(_request(*asked)).errno for asked in REQUESTS]
        assert denied == ["EROFS", "EROFS", "", "EROFS", "", "", ""]


REQUESTS = (
    ("delete", "archive/a", None),
    ("rename", "archive/a", "out"),
    ("rename", "in", "archive/a"),
    ("open-write", "archive/a", None),
    ("open-read", "archive/a", None),
    ("create", "archive/new", None),
    ("delete", "keys/a", None),
)


def _request(operation, path, dest):
    return SemanticEvent(operation, path, dest, uid=7, comm="mv")
