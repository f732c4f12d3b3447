"""docs/control.md and /.vexfs/README say what there is."""

import re
from pathlib import Path

from automation.control_commands import COMMANDS
from tests.control_rig import FakeService, FakeTenant, Kernel
from vexfs_fuse.control.ctl import HELP
from vexfs_fuse.control.readme import TEXT

ASKED = (("lineage", "a.txt"), ("impact", "a.txt"), ("runs", "a.txt"), ("process", "7"), ("user", "0"))
PAGE = (Path(__file__).parent.parent / "docs" / "control.md").read_text()


async def documented_paths() -> set[str]:
    """Every file of the tree, with NAME, ID, FILE and TYPE in the place of what varies; a tenant's part as one."""
    service = FakeService(FakeTenant("red", 12001, 12001))
    kernel = Kernel(service)
    service.add_run("00aa")
    await kernel.write("workflows/x.yaml", "name: ingest\n")
    service.track("a.txt")
    paths = {path for path, directory in (await kernel.every_path()).items() if not directory}
    paths = {re.sub("^tenants/red/.*", "tenants/NAME/", path) for path in paths}
    changes = {"workflows/ingest/": "workflows/NAME/", "runs/00aa/": "runs/ID/", "workflows/x.yaml": "workflows/FILE"}
    changes |= {f"graph/{question}/{subject}/": "graph/QUESTION/SUBJECT/" for question, subject in ASKED}
    changes |= {"models/guess/": "models/NAME/", "models/patience/": "models/NAME/"}
    changes |= {"analytics/load.writes/": "analytics/NAME/"}
    changes |= {"patterns/pair/": "patterns/NAME/", "explain/pair": "explain/NAME"}
    changes |= {"rules/watch/": "rules/NAME/", "machines/gate/": "machines/NAME/"}
    for old, new in changes.items():
        paths = {path.replace(old, new) for path in paths}
    return {re.sub(r"^events\.d/.*", "events.d/TYPE", path) for path in paths}


async def test_every_file_is_in_the_table():
    """docs/control.md has a row for each file of the tree, and no row for one that is not there."""
    rows = set(re.findall(r"^\| `([A-Za-z./]+)` \|", PAGE, re.MULTILINE)) - set(COMMANDS)
    assert rows == await documented_paths()


async def test_every_top_entry_is_in_the_readme():
    """README names each entry of the root and each file of a workflow and of a run."""
    for path in await documented_paths():
        top, *below = path.split("/")
        assert re.search(rf"^{re.escape(top)}[ /]", TEXT, re.MULTILINE), path
        assert all(part in TEXT for part in below), path
    assert re.search("^self +a link", TEXT, re.MULTILINE)
    assert max(map(len, TEXT.splitlines())) <= 80


def test_every_command_is_documented():
    """The commands of the service are those of ctl's help and of the page."""
    assert tuple(re.findall(r"^([a-z]+) +(?:[A-Z\[]\S* )*.*  ", HELP, re.MULTILINE)) == tuple(COMMANDS)
    assert tuple(re.findall(r"^\| `([a-z]+)[^`]*` \|", PAGE.partition("## ctl")[2].partition("##")[0], re.M)) == tuple(
        COMMANDS
    )
