"""How a definition names a secret without anybody else being able to.

`{{ secrets.NAME }}`, or `secret:NAME` as a whole value, becomes a seal when the definition is rendered: the name with a
number that only this process knows. So a file called `secret:token` that turns up in a template is just a text.
"""

from __future__ import annotations

import re
import secrets as randomness
from typing import Any, Final

NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_NUMBER: Final = randomness.token_hex(16)
_WHOLE: Final = re.compile(rf"secret:({NAME})\Z")
_EXPRESSION: Final = re.compile(rf"secrets\.({NAME})\Z")
_WITHIN: Final = re.compile(rf"\{{\{{\s*secrets\.({NAME})\s*\}}\}}")
_SEAL: Final = re.compile(rf"secret:({NAME}):{_NUMBER}")


def seal(name: str) -> str:
    """The reference to a secret as it travels through this process."""
    return f"secret:{name}:{_NUMBER}"


def literal(text: str) -> str | None:
    """The seal that the whole value `secret:NAME` stands for; None if it is something else."""
    found = _WHOLE.match(text)
    return seal(found[1]) if found else None


def expression(source: str) -> str | None:
    """The seal that the expression `secrets.NAME` stands for; None if it is something else."""
    found = _EXPRESSION.match(source)
    return seal(found[1]) if found else None


def named(value: Any) -> str | None:
    """The first secret that a value of a definition refers to, before it is rendered."""
    if isinstance(value, str):
        found = _WHOLE.match(value) or _WITHIN.search(value)
        return found[1] if found else None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((name for item in items if (name := named(item))), None)


def sealed(text: str) -> list[str]:
    """The names of the secrets that a text refers to."""
    return _SEAL.findall(text) if _NUMBER in text else []


def opened(text: str, values: dict[str, str]) -> str:
    """The text with the values of its secrets; each must be in `values`."""
    return _SEAL.sub(lambda found: values[found[1]], text) if _NUMBER in text else text


def shown(text: str) -> str:
    """The text as people may see it: each seal as `secret:NAME`."""
    return _SEAL.sub(r"secret:\1", text) if _NUMBER in text else text
