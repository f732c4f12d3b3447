"""Versions of definitions outlive the mount."""

from automation.versions import KEPT, Versions
from tests.automation_rig import rig
from tests.memory_rig import Lives

STEPS = "steps: [{log: {message: x}}]"


def test_the_last_ten_are_kept_with_their_numbers():
    """In memory as well; text of any bytes."""
    versions = Versions()
    numbers = [versions.keep("w", f"w{n}.yaml", f"text \udc80 {n}", n) for n in range(14)]
    assert numbers == list(range(1, 15))
    assert versions.of("w") == {number: number - 1 for number in range(15 - KEPT, 15)}
    assert versions.text("w", 9) == ("w8.yaml", "text \udc80 8")
    assert versions.text("w", 1) is None and versions.of("other") == {}
    assert versions.keep("w", "w.yaml", "more", 1, above=40) == 41


def test_a_version_that_is_loaded_again_by_the_next_mount_is_the_same_version(tmp_path):
    """One that changed in between is a new one, as is any change while mounted."""
    path = str(tmp_path / "versions.sqlite")
    first = Versions(path)
    with first.together():
        assert [first.keep("w", "w.yaml", text, 1) for text in ("a", "b", "a")] == [1, 2, 3]
    first.close()
    second = Versions(path)
    assert [second.keep("w", "w.yaml", text, 2) for text in ("a", "a", "b")] == [3, 4, 5]
    assert second.text("w", 2) == ("w.yaml", "b")
    second.close()


def test_a_damaged_file_is_put_aside(tmp_path):
    """Versions begin anew; what was there is left for people."""
    file = tmp_path / "versions.sqlite"
    file.write_bytes(b"noise" * 1000)
    versions = Versions(str(file))
    assert versions.keep("w", "w.yaml", "a", 1) == 1
    versions.close()
    assert (tmp_path / "versions.sqlite.damaged").read_bytes().startswith(b"noise")


async def test_rollback_reaches_behind_a_kill(tmp_path, autojump_clock):
    """To a version of an earlier mount, even when the file is gone or wrong now."""
    lives = Lives(tmp_path, w=f"description: first\n{STEPS}")
    async with lives.life() as one:
        await one.service.library.install("w.yaml", f"description: second\n{STEPS}")
    lives.definitions["w.yaml"] = f"description: second\n{STEPS}"
    async with lives.life(kill=True) as one:
        assert one.service.library.entry("w").version == 2
        await one.service.command("rollback w 1", 0)
        assert one.service.library.entry("w").definition.description == "first"
    lives.definitions["w.yaml"] = "description: {"
    async with lives.life() as one:
        assert one.service.library.entry("w").error is not None
        said = await one.service.command("rollback w", 0)
        assert said == "rolled w back; what it says now is version 3"
        assert one.service.library.entry("w").definition.description == "first"


async def test_without_a_state_directory_versions_last_as_long_as_the_mount(tmp_path):
    """As ever."""
    async with rig(tmp_path, w=f"description: first\n{STEPS}") as one:
        await one.service.library.install("w.yaml", f"description: second\n{STEPS}")
        await one.service.command("rollback w", 0)
        assert one.service.library.entry("w").version == 3
