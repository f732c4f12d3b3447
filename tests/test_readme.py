"""The README's session, run as it stands."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from automation import logs
from tests.mounting import REPOSITORY, is_mounted, scratch

SECONDS = 120
MARK = "@@@ next command"


def session() -> list[tuple[str, str]]:
    """Each command of the README's first console block, with the output that it shows."""
    block = re.search(r"```console\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert block is not None
    commands = re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]
    return [(command.partition("\n")[0], command.partition("\n")[2]) for command in commands]


def pattern(shown: str) -> str:
    """A regular expression for output like `shown`: `…` is anything; numbers, times and run identities may differ."""
    text = re.escape(shown.strip())
    text = re.sub(r"\b[0-9a-f]{16}\b", "RUN", text)
    text = re.sub(r"\d+(\\\.\d+)?(\\ )(ms|s)\b", "SPAN", text)
    text = re.sub(r"\d+", r"\\d+", text)
    text = re.sub(r"(\\\s|\\\n|\s)+", r"\\s+", text)
    text = text.replace("RUN", "[0-9a-f]{16}").replace("SPAN", r"[\d.]+ (µs|ms|s)")
    return re.sub(r"(\\s\+)?…(\\s\+)?", ".*", text)


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A directory that looks like a fresh clone after `make install`, without a demo."""
    # The copy shares this .venv, which `make mount` must not have to build anew under another name.
    if (
        subprocess.run(["make", "-q", ".venv/installed"], cwd=REPOSITORY, check=False, capture_output=True).returncode
        != 0
    ):
        pytest.skip("the session begins with make; run the tests by `make test`")
    with scratch() as directory:
        for entry in REPOSITORY.iterdir():
            if entry.name not in ("demo", ".git"):
                (directory / entry.name).symlink_to(entry)
        try:
            yield directory
        finally:
            if is_mounted(directory / "demo/mount"):
                subprocess.run(["fusermount3", "-uz", directory / "demo/mount"], check=False)
            Path(logs.default_file(str(directory / "demo/mount"))).unlink(missing_ok=True)


@pytest.mark.mount
def test_the_sixty_seconds_are_as_shown(checkout):
    """Every line runs, and shows what the README shows, up to numbers and times."""
    commands = session()
    assert len(commands) > 10
    script = "".join(f"echo '{MARK}'\n{command}\n" for command, _ in commands)
    done = subprocess.run(
        ["bash", "-ec", script],
        stdin=subprocess.DEVNULL,
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    outputs = done.stdout.split(f"{MARK}\n")[1:]
    for (command, shown), output in zip(commands, outputs, strict=True):
        assert re.fullmatch(pattern(shown), output.strip(), re.DOTALL), f"$ {command}\n{output}\ninstead of\n{shown}"
    assert not is_mounted(checkout / "demo/mount")


def test_the_readme_opens_with_the_session():
    """A reader meets the session first, and every shipped automation is named."""
    text = (REPOSITORY / "README.md").read_text()
    assert text.index("## Sixty seconds") == text.index("## ")
    for workflow in (REPOSITORY / "workflows").iterdir():
        if workflow.suffix in (".yaml", ".lua"):
            assert f"(workflows/{workflow.name})" in text, f"{workflow.name} is not in the README"
