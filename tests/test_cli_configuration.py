"""Settings from file, `-o` and command line: same names, clear errors."""

from pathlib import Path

import pytest

from automation import configuration
from automation.configuration import Settings
from automation.errors import CallerError, DefinitionError
from automation.permissions import Permissions


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "vexfs.toml"
    path.write_text(text)
    return str(path)


def test_every_setting_can_stand_in_the_file(tmp_path):
    """Each name of the command line is a name of the file, with the natural TOML type."""
    path = written(
        tmp_path,
        """
        source = "/srv/data"
        mountpoint = "/mnt/data"
        workflows = "/etc/vexfs/workflows"
        options = ["allow_other", "noatime"]
        background = true
        show-control = true
        attr-timeout = 2
        entry-timeout = "500ms"
        failed-events = true
        grace = "1m"
        log-level = "debug"
        log-format = "json"
        log-file = "/var/log/vexfs.log"
        exclusive = true
        locks = "shared"
        state-dir = "/var/lib/vexfs/data"
        volatile = true
        event-log = false
        dry-run = true
        listen = "127.0.0.1:8080"
        token-file = "/etc/vexfs/token"
        [io]
        "*.log" = "native"
        [actions]
        allow-hosts = ["10.0.0.0/8"]
        models = "models"
        [automation]
        enable_hot_reload = false
        [journal]
        retention-runs = 5
        [tenants.analysts]
        uids = ["nobody"]
        """,
    )
    settings = configuration.read(path)
    assert settings.model_fields_set == set(Settings.model_fields)
    assert settings.options == ("allow_other", "noatime")
    assert (settings.attr_timeout, settings.entry_timeout, settings.grace) == (2.0, 0.5, 60.0)
    assert settings.background and settings.show_control and settings.failed_events and settings.exclusive
    assert settings.io == {"*.log": "native"} and settings.locks == "shared"
    assert settings.actions.models == str(tmp_path / "models")
    assert settings.journal.retention_runs == 5 and settings.journal.sync == "full"


@pytest.mark.parametrize("text", ['io = "fast"', '[io]\n"*.log" = "fast"', '[io]\n"[" = "native"'])
def test_a_wrong_policy_is_refused_with_its_line(tmp_path, text):
    """A policy that does not exist and a glob that is malformed are found before the mount is made."""
    with pytest.raises(DefinitionError, match=r"vexfs.toml:1: io: "):
        configuration.read(written(tmp_path, text))


def test_underscores_are_dashes(tmp_path):
    """`log_level` is `log-level`: nobody should have to remember which."""
    assert configuration.read(written(tmp_path, 'log_level = "error"')).log_level == "error"


def test_foreground_is_the_opposite_of_background(tmp_path):
    """The file knows both words, as the command line does, and refuses a contradiction."""
    assert configuration.read(written(tmp_path, "foreground = false")).background is True
    assert configuration.read(written(tmp_path, "foreground = true\nbackground = false")).background is False
    with pytest.raises(DefinitionError, match=r"vexfs.toml:1: foreground: .*opposite of background"):
        configuration.read(written(tmp_path, "foreground = true\nbackground = true"))


def test_paths_are_relative_to_the_file(tmp_path):
    """A relative path in the file does not depend on where the command was started."""
    settings = configuration.read(written(tmp_path, 'source = "data"\nworkflows = "../flows"\nlog-file = "/abs/log"'))
    assert settings.source == str(tmp_path / "data")
    assert settings.workflows == str(tmp_path / "../flows")
    assert settings.log_file == "/abs/log"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grace = 1\ngarce = 2", r":2: garce: there is no such setting; did you mean grace\?"),
        ("\n[workflows]\nx = 1", r":2: workflows: text, in quotes, not a table"),
        ("a.b = 1", r":1: a: there is no such setting"),
        ('log-level = "loud"', r":1: log-level: .*'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("# first\ngrace = -1", r":2: grace: "),
        ('attr-timeout = "soon"', r":1: attr-timeout: .*'soon'"),
        ("show-control = 3", r":1: show-control: true or false, not 3"),
        ("options = [1]", r":1: options: text, in quotes, not 1"),
        ("[actions]\nallow-hosts = 3", r":2: actions.allow-hosts: a list, in brackets, not 3"),
        ("grace = ", r":1: not TOML: "),
        ('ok = 1\nx = "', r":2: not TOML: "),
        ("grace = 1\ngrace = 2", r":2: not TOML: .*overwrite"),
        ('"quoted key" = 1', r":1: quoted key: there is no such setting"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, text, expected):
    """What is wrong in the file is found by line and name, and an unknown name suggests the nearest known one."""
    with pytest.raises(DefinitionError, match=expected) as caught:
        configuration.read(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "vexfs.toml"))


def test_a_file_that_cannot_be_read_is_the_callers_error(tmp_path):
    """A missing file, a directory and bytes that are no text each get a sentence."""
    with pytest.raises(CallerError, match=r"cannot read the configuration file .*No such file"):
        configuration.read(str(tmp_path / "none.toml"))
    with pytest.raises(CallerError, match="Is a directory"):
        configuration.read(str(tmp_path))
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError, match="not UTF-8"):
        configuration.read(str(tmp_path / "bin.toml"))


def test_later_layers_win_and_options_add_up():
    """The command line beats `-o`, which beats the file; mount options of all of them count."""
    file = Settings(grace=1.0, attr_timeout=5.0, options=("ro",))
    line = Settings(grace=2.0, options=("allow_other",))
    both = configuration.combine(Settings(), file, line)
    assert (both.grace, both.attr_timeout, both.entry_timeout) == (2.0, 5.0, None)
    assert both.options == ("ro", "allow_other")


def test_a_value_on_the_command_line_is_blamed_by_its_option():
    """The error names what the person typed."""
    with pytest.raises(CallerError, match=r"^--attr-timeout: 'x' is no duration"):
        configuration.parse({"attr_timeout": "x"})
    with pytest.raises(CallerError, match=r"^-o grace: "):
        configuration.parse({"grace": "never"}, "-o {}")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('allow-hosts = ["http://x/"]', "actions.allow-hosts"),
        ('trash-size = "much"', "actions.trash-size"),
        ('databses = ["x"]', "actions.databses"),
        ("breaker-failures = 0", "actions.breaker-failures"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(tmp_path, line, field):
    """File, line and the whole name of the field."""
    with pytest.raises(DefinitionError, match=rf"vexfs\.toml:2: {field}: "):
        configuration.read(written(tmp_path, f"[actions]\n{line}"))


def test_every_setting_of_the_actions_table_is_documented():
    """docs/actions.md has a row for each."""
    text = (Path(__file__).parent.parent / "docs/actions.md").read_text()
    for name in Permissions.model_fields:
        assert f"`{name.replace('_', '-')}`" in text, name
