"""Checks whose outcome on the mount may differ from the bare directory's, each with the reason it cannot be helped."""

from collections.abc import Mapping
from typing import Final

EXCEPTIONS: Final[Mapping[str, str]] = {}
