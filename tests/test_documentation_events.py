"""docs/events.md names every event type and field."""

from pathlib import Path

from automation.events import EVENT_TYPES, SemanticEvent

TEXT = (Path(__file__).parent.parent / "docs" / "events.md").read_text()


def test_every_type_is_documented_with_its_code():
    """A type that is not in the table does not exist for a reader."""
    for kind in EVENT_TYPES.values():
        assert f"| `{kind.name}`" in TEXT, kind.name
        assert f"0x{kind.code:04x}" in TEXT, kind.name


def test_every_type_has_a_code_of_its_own():
    """Consumers tell types apart by it."""
    codes = [kind.code for kind in EVENT_TYPES.values()]
    assert len(set(codes)) == len(codes)


def test_every_field_is_documented():
    """Each slot of an event has its row."""
    for field in (*SemanticEvent.__slots__, "code", "category"):
        assert f"`{field.lstrip('_')}`" in TEXT, field
