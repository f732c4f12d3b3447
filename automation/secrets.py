"""The secrets of a mount: where their values are kept, who may have them, and where they must not appear.

A value comes from, in this order: a file NAME in the secrets directory, which only its owner may read; a systemd
credential NAME ($CREDENTIALS_DIRECTORY); an environment variable that the configuration names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from automation import seals
from automation.errors import WorldError
from automation.redaction import SHORTEST, Redactor

_LARGEST: Final = 64 << 10
T = TypeVar("T")


class Secrets:
    """`directory` may be missing; `variables` maps names of secrets to environment variables. Unless it `inherits`,
    the credentials of this process are not among them.
    """

    def __init__(
        self, directory: str | None = None, variables: Mapping[str, str] | None = None, *, inherits: bool = True
    ) -> None:
        self.redactor: Final = Redactor()
        self.directory: Final = directory
        self.variables: Final = dict(variables or {})
        self._credentials: Final = os.environ.get("CREDENTIALS_DIRECTORY") if inherits else None
        for name in self.names():
            try:
                self.value(name)
            except WorldError:
                continue  # whoever asks for it is told

    def names(self) -> list[str]:
        """Every secret that there is."""
        found = {*self.variables, *_entries(self.directory), *_entries(self._credentials)}
        return sorted(name for name in found if seals.literal(f"secret:{name}"))

    def references(self) -> dict[str, str]:
        """What stands for each secret in a script's hands."""
        return {name: seals.seal(name) for name in self.names()}

    def value(self, name: str) -> str:
        """The value of a secret, read anew; WorldError when there is none, or others could read it."""
        for read in (self._from_directory, self._from_credentials, self._from_environment):
            value = read(name)
            if value is not None:
                break
        else:
            raise WorldError(f"there is no secret '{name}'{self._advice(name)}")
        if len(value) < SHORTEST:
            raise WorldError(f"the secret '{name}' is shorter than {SHORTEST} characters: it could not be kept hidden")
        self.redactor.learn(name, value)
        return value

    def check(self, action: Any) -> None:
        """WorldError when an action refers to a secret in a field that takes none."""
        if not _names(action):
            return
        allowed: frozenset[str] = getattr(type(action), "SECRETS", frozenset())
        for field in type(action).model_fields:
            names = _names(getattr(action, field))
            if names and field not in allowed:
                where = f"; {action.type} takes them in {', '.join(sorted(allowed))}" if allowed else ""
                raise WorldError(f"'{field}' of {action.type} cannot take the secret '{names[0]}'{where}")

    def opened(self, action: T) -> T:
        """The action with the values of the secrets that it refers to."""
        names = _names(action)
        if not names:
            return action
        self.check(action)
        values = {name: self.value(name) for name in names}
        opened: T = _changed(action, lambda text: seals.opened(text, values))
        return opened

    def redact(self, value: Any) -> Any:
        """A JSON value in which no known value of a secret appears."""
        return self.redactor.value(value)

    def environment(self) -> dict[str, str]:
        """The environment of this process without what holds secrets: what a command may see."""
        hidden = {*self.variables.values(), "CREDENTIALS_DIRECTORY"}
        return {name: value for name, value in os.environ.items() if name not in hidden}

    def _from_directory(self, name: str) -> str | None:
        return None if self.directory is None else _content(self.directory, name, private=True)

    def _from_credentials(self, name: str) -> str | None:
        return None if self._credentials is None else _content(self._credentials, name, private=False)

    def _from_environment(self, name: str) -> str | None:
        variable = self.variables.get(name)
        return None if variable is None else os.environ.get(variable)

    def _advice(self, name: str) -> str:
        return "" if self.directory is None else f": write it to {self.directory}/{name} (mode 0600)"


def _entries(directory: str | None) -> Iterable[str]:
    try:
        return os.listdir(directory) if directory else ()
    except OSError:
        return ()


def _content(directory: str, name: str, *, private: bool) -> str | None:
    path = os.path.join(directory, name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorldError(f"the secret '{name}' cannot be read: {error.strerror}") from None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
            raise WorldError(f"the secret '{name}' is no file of at most {_LARGEST >> 10} KiB")
        if private and (info.st_mode & 0o077 or info.st_uid not in (0, os.geteuid())):
            raise WorldError(f"others than its owner can reach the secret '{name}': chmod 600 {path}, and own it")
        return os.read(fd, _LARGEST).decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise WorldError(f"the secret '{name}' is not UTF-8 text") from None
    finally:
        os.close(fd)


def _names(value: Any) -> list[str]:
    """The secrets that a value refers to, wherever in it."""
    if isinstance(value, str):
        return seals.sealed(value)
    if isinstance(value, BaseModel):
        return [name for item in value.__dict__.values() if item for name in _names(item)]
    if isinstance(value, Mapping):
        return [name for pair in value.items() for item in pair for name in _names(item)]
    return [name for item in value for name in _names(item)] if isinstance(value, list | tuple) else []


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, BaseModel):
        fields = {name: _changed(getattr(value, name), change) for name in value.model_fields_set}
        return value.model_copy(update=fields)
    if isinstance(value, Mapping):
        return {name: _changed(item, change) for name, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, list | tuple) else value
