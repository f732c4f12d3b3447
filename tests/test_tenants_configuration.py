"""Errors in the `[tenants]` tables: file, line, field, and what would be right."""

from pathlib import Path

import pytest

from automation import configuration
from automation.errors import DefinitionError
from automation.tenants.forms import LimitsForm, TenantForm

LIMITS = '[tenants.ann]\nuids = ["daemon"]\n[tenants.ann.limits]\n'


def user(line: str) -> str:
    """A table of a user, with one more line."""
    return f'[tenants.ann]\nuids = ["daemon"]\n{line}\n'


ERRORS = [
    ("tenants = 3", "1: tenants: a table, not 3"),
    ("[tenants]\nann = 3", "2: tenants.ann: a table, not 3"),
    ('[tenants."A b"]\nuids = [1]', "1: tenants.A b: a tenant's name is of a-z, 0-9, '_', '-' and '.'"),
    ("[tenants.ann]", "1: tenants.ann: it needs uids, gids or paths: nothing would be its own"),
    ('[tenants.ann]\npaths = ["a"]', "1: tenants.ann: it needs run-as, the user that its actions run as"),
    ("[tenants.ann]\ngids = [7]", "1: tenants.ann: it needs run-as, the user that its actions run as"),
    ('[tenants.ann]\nuids = ["nosuch"]', "2: tenants.ann.uids: there is no user 'nosuch'"),
    ("[tenants.ann]\nuids = [-1]", "2: tenants.ann.uids: -1 is no user: give a name or a number"),
    ("[tenants.ann]\nuids = [4294967295]", "2: tenants.ann.uids: 4294967295 is no user: give a name or a number"),
    ("[tenants.ann]\nuids = [true]", "2: tenants.ann.uids: true is no user: give a name or a number"),
    ("[tenants.ann]\nuids = [1.5]", "2: tenants.ann.uids: 1.5 is no user: give a name or a number"),
    ('[tenants.ann]\nuids = "daemon"', "2: tenants.ann.uids: a list, in brackets, not 'daemon'"),
    ("[tenants.ann]\nuids = [54321]", "1: tenants.ann: there is no user 54321: its groups would not be known"),
    (user('gids = ["nosuch"]'), "3: tenants.ann.gids: there is no group 'nosuch'"),
    (user("gids = [-7]"), "3: tenants.ann.gids: -7 is no group: give a name or a number"),
    (user("gids = 7"), "3: tenants.ann.gids: a list, in brackets, not 7"),
    (user("run-as = 54321"), "3: tenants.ann.run-as: there is no user 54321: its groups would not be known"),
    (user('run-as = "nosuch"'), "3: tenants.ann.run-as: there is no user 'nosuch'"),
    (user('run-as = ["daemon"]'), "3: tenants.ann.run-as: ['daemon'] is no user: give a name or a number"),
    *(
        (user(f'paths = ["{path}"]'), f"3: tenants.ann.paths: '{path}' is no directory below the mount's root: write")
        for path in ("", "/", "..", "../x", "a/../b", "a//b", ".vexfs/a", "a/./b")
    ),
    (user('paths = "a"'), "3: tenants.ann.paths: a list, in brackets, not 'a'"),
    (user('allow-hosts = "x"'), "3: tenants.ann.allow-hosts: a list, in brackets, not 'x'"),
    (user('databases = "x"'), "3: tenants.ann.databases: a list, in brackets, not 'x'"),
    (user("models = 3"), "3: tenants.ann.models: text, in quotes, not 3"),
    (user("limits = 3"), "3: tenants.ann.limits: a table, not 3"),
    (user('path = ["a"]'), "3: tenants.ann.path: there is no such setting; did you mean paths?"),
    (user("colour = 1"), "3: tenants.ann.colour: there is no such setting; there are uids, gids, paths, run-as"),
    (user('[tenants.ben]\nuids = ["bin", 1]'), "4: tenants.ben.uids: uid 1 is the tenant ann's already"),
    (
        user('gids = [7]\n[tenants.ben]\nuids = ["bin"]\ngids = [7]'),
        "6: tenants.ben.gids: gid 7 is the tenant ann's already",
    ),
    (
        user('paths = ["a"]\n[tenants.ben]\nuids = ["bin"]\npaths = ["b", "a/b"]'),
        "6: tenants.ben.paths: 'a/b' and 'a' of the tenant ann overlap",
    ),
    (
        user('paths = ["a/b", "a"]'),
        "3: tenants.ann.paths: 'a' and 'a/b' of the tenant ann overlap",
    ),
    (LIMITS + "events-per-second = 0", "4: tenants.ann.limits.events-per-second: input should be greater than 0"),
    (LIMITS + "loop-share = 0", "4: tenants.ann.limits.loop-share: input should be greater than 0"),
    (LIMITS + "loop-share = 1.5", "4: tenants.ann.limits.loop-share: input should be less than or equal to 1, not 1.5"),
    (LIMITS + "rules = -1", "4: tenants.ann.limits.rules: input should be greater than or equal to 0, not -1"),
    (LIMITS + "rules = 1.5", "4: tenants.ann.limits.rules: input should be a valid integer"),
    (LIMITS + "partial-matches = 0", "4: tenants.ann.limits.partial-matches: input should be greater than or equal to"),
    (LIMITS + "concurrent-runs = 0", "4: tenants.ann.limits.concurrent-runs: input should be greater than or equal to"),
    (LIMITS + "concurrent-runs = 100001", "4: tenants.ann.limits.concurrent-runs: input should be less than or equal"),
    (LIMITS + "cpu-seconds = 0", "4: tenants.ann.limits.cpu-seconds: input should be greater than 0"),
    (LIMITS + 'cpu-seconds = "long"', "4: tenants.ann.limits.cpu-seconds: input should be a valid number"),
    (LIMITS + 'memory = "much"', "4: tenants.ann.limits.memory: 'much' is no size; write for instance 4096, '10MB'"),
    (
        LIMITS + "http-calls = -1",
        "4: tenants.ann.limits.http-calls: input should be greater than or equal to 0, not -1",
    ),
    (LIMITS + 'journal = "1KiB"', "4: tenants.ann.limits.journal: input should be greater than or equal to 262144"),
    (LIMITS + 'journal-full = "no"', "4: tenants.ann.limits.journal-full: input should be 'prune' or 'stop', not 'no'"),
    (LIMITS + "speed = 1", "4: tenants.ann.limits.speed: there is no such setting; there are events-per-second, loop-"),
    (LIMITS + "rule = 1", "4: tenants.ann.limits.rule: there is no such setting; did you mean rules?"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS, ids=[message.split(": ")[1] for _, message in ERRORS])
def test_an_error_says_where_it_is_and_what_would_be_right(tmp_path: Path, text: str, message: str) -> None:
    """Of every setting, each kind of error."""
    path = tmp_path / "vexfs.toml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        configuration.read(str(path))
    assert str(caught.value).startswith(f"{path}:{message}")


def test_every_setting_of_a_tenant_has_an_error() -> None:
    """None is left out above."""
    told = {message.split(": ")[1] for _, message in ERRORS}
    forms = TenantForm.model_fields, LimitsForm.model_fields
    for form, above in zip(forms, ("tenants.ann", "tenants.ann.limits"), strict=True):
        assert {f"{above}.{name.replace('_', '-')}" for name in form} <= told
