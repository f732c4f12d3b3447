"""Which languages there are: each a module with a class `Language`, loaded in its worker only."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from automation.scripts.call import Language

LANGUAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lua": "automation.scripts.lua",
        "javascript": "automation.scripts.javascript",
        "python": "automation.scripts.python",
        "wasm": "automation.scripts.wasm",
        "sql": "automation.scripts.sql",
    }
)

SPELLINGS: Final[Mapping[str, str]] = MappingProxyType({"js": "javascript", "py": "python", "webassembly": "wasm"})
"""Other names for some of them; case does not matter."""

SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {".lua": "lua", ".js": "javascript", ".py": "python", ".wasm": "wasm", ".wat": "wasm", ".sql": "sql"}
)


def load(language: str, memory: int) -> Language:
    """The language, in this process, with everything that it needs."""
    made: Language = importlib.import_module(LANGUAGES[language]).Language(memory)
    return made


def spelled(name: str) -> str:
    """The name of a language however it is written; ValueError when there is none."""
    small = name.lower()
    found = SPELLINGS.get(small, small)
    if found not in LANGUAGES:
        raise ValueError(f"there is no language {name!r}; there are {', '.join(LANGUAGES)}")
    return found


def of_file(path: str) -> str:
    """The language that a file's name tells; ValueError when it tells none."""
    found = SUFFIXES.get(os.path.splitext(path)[1].lower())
    if found is None:
        raise ValueError(f"the name of {path!r} does not tell its language; end it in {', '.join(SUFFIXES)}")
    return found
