"""What the system says went wrong, for a sentence of ours."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """What is wrong, in words that go on a sentence."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
