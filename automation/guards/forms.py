"""What a person writes under `guards:` and `system:`; see docs/rules.md for each field."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from automation.expressions import nearest
from automation.forms import Form, Name, also, one_or_more
from automation.quantities import Duration
from automation.rules.forms import Texts, Tree, Users, as_tree

OPERATIONS: Final = (
    *("open-read", "open-write", "create", "delete", "rename", "mkdir", "rmdir", "link", "symlink", "truncate"),
    *("chmod", "chown", "times", "xattr", "write"),
)
MODIFYING: Final = OPERATIONS[1:]
GROUPS: Final = {
    "all": OPERATIONS,
    "*": OPERATIONS,
    "open": ("open-read", "open-write"),
    "modify": MODIFYING,
    "attributes": ("chmod", "chown", "times", "xattr"),
}
ERRNOS: Final = (
    *("EPERM", "EACCES", "EROFS", "EBUSY", "EAGAIN", "ENOENT", "EEXIST", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "EINVAL"),
    *("ETXTBSY", "EMLINK", "ENOTSUP", "ENXIO", "ENODEV", "ETIMEDOUT", "ECONNREFUSED", "EHOSTDOWN", "EKEYREJECTED"),
)
LONGEST_WAIT: Final = 30.0
_RATE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|sec|second|m|min|minute|h|hour)\s*\Z")
_PER: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _operations(names: list[str]) -> list[str]:
    out: list[str] = []
    for name in names:
        if name not in OPERATIONS and name not in GROUPS:
            choices = (*OPERATIONS, *GROUPS)
            raise ValueError(f"there is no operation {name!r}{nearest(name, choices)}; they are {', '.join(choices)}")
        out += GROUPS.get(name, (name,))
    return list(dict.fromkeys(out))


def parse_rate(value: object) -> float:
    """Per second: `10/s`, `90/min`, or a plain number of them a second."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    match = _RATE.match(value) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is no rate; write for instance '10/s', '90/min' or '1000/h'")
    return float(match[1]) / _PER[match[2][0]]


def _errno(name: str) -> str:
    if name not in ERRNOS:
        raise ValueError(f"a guard cannot answer {name!r}{nearest(name, ERRNOS)}; it can answer {', '.join(ERRNOS)}")
    return name


def _outside(patterns: list[str]) -> list[str]:
    """Nothing in `/.vexfs` can be guarded: that is where a guard is undone."""
    for pattern in patterns:
        if pattern.lstrip("/").split("/")[0] == ".vexfs":
            raise ValueError(f"{pattern!r} lies in /.vexfs, from which no guard may lock anybody out")
    return patterns


Operations = Annotated[
    list[str],
    BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
    AfterValidator(_operations),
    Field(min_length=1),
]
Errno = Annotated[str, AfterValidator(_errno)]
Rate = Annotated[float, BeforeValidator(parse_rate, json_schema_input_type=float | str)]
Paths = Annotated[Texts, AfterValidator(_outside)]


class GuardForm(Form):
    """One guard. It concerns a request if all that is given fits; then `action` is what becomes of the request."""

    name: Name
    description: str = ""
    operations: Operations = also("operations", "on")
    paths: Paths = also("paths", "path", default=[])
    exclude: Texts = []
    uid: Users = []
    gid: Users = []
    comm: Texts = []
    exempt_uid: Users = []
    when: Annotated[Tree | None, BeforeValidator(as_tree, json_schema_input_type=str | list[Any] | Tree)] = also(
        "when", "conditions", default=None
    )
    action: Literal["deny", "delay", "mark"] = "deny"
    errno: Errno = "EPERM"
    rate: Rate | None = None
    burst: int = Field(default=1, ge=1, le=1_000_000)
    key: Literal["all", "path", "directory", "uid", "pid", "comm"] = "all"
    max_wait: Annotated[Duration, Field(le=LONGEST_WAIT)] = 1.0
    beyond: Literal["allow", "deny"] = "allow"
    mark: str | None = None
    deadline_us: int = Field(default=1000, ge=1, le=1_000_000)
    failure: Literal["open", "closed"] = "open"
    mode: Literal["enforce", "audit"] = "enforce"
    enabled: bool = True
    metadata: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits_its_action(self) -> GuardForm:
        if (self.action == "delay") != (self.rate is not None):
            raise ValueError("'rate' belongs to guards whose action is delay, and they need it, for instance '10/s'")
        if (self.action == "mark") != (self.mark is not None):
            raise ValueError("'mark' belongs to guards whose action is mark, and they need it")
        return self


class Maintenance(Form):
    """What cannot be changed while the system state is Maintenance."""

    read_only: Annotated[Paths, Field(min_length=1)]
    exclude: Texts = []
    exempt_uid: Users = []
    errno: Errno = "EROFS"
    mode: Literal["enforce", "audit"] = "enforce"


class Emergency(Form):
    """Who cannot change anything while the system state is Emergency; all that are given must fit."""

    uid: Users = []
    gid: Users = []
    comm: Texts = []
    paths: Paths = []
    exclude: Texts = []
    errno: Errno = "EACCES"
    mode: Literal["enforce", "audit"] = "enforce"

    @model_validator(mode="after")
    def _somebody(self) -> Emergency:
        if not (self.uid or self.gid or self.comm or self.paths):
            raise ValueError("say who or what is blocked: uid, gid, comm or paths")
        return self


class HighLoad(Form):
    """What is slowed down while the system state is HighLoad."""

    operations: Operations = ["open-read", "open-write", "create"]
    paths: Paths = []
    exclude: Texts = []
    uid: Users = []
    comm: Texts = []
    rate: Rate
    burst: int = Field(default=1, ge=1, le=1_000_000)
    key: Literal["all", "path", "directory", "uid", "pid", "comm"] = "uid"
    max_wait: Annotated[Duration, Field(le=LONGEST_WAIT)] = 1.0


class SystemForm(Form):
    """How the system states act on the mount; nothing unless it is said here."""

    maintenance: Maintenance | None = None
    emergency: Emergency | None = None
    high_load: HighLoad | None = also("high_load", "highload", default=None)

    def guards(self, book: str) -> list[GuardForm]:
        """The guards that do it, named after the file."""
        out = []
        for field, state, fixed in (
            ("maintenance", "Maintenance", {"operations": ["modify"]}),
            ("emergency", "Emergency", {"operations": ["modify"]}),
            ("high_load", "HighLoad", {"action": "delay"}),
        ):
            form: Form | None = getattr(self, field)
            if form is None:
                continue
            given = form.model_dump(exclude_defaults=False)
            if "read_only" in given:
                given["paths"] = given.pop("read_only")
            when = {"state": {"name": "system.state", "equals": state}}
            about = f"While the system state is {state}."
            name = f"{book} {field.replace('_', ' ')}"
            out.append(GuardForm.model_validate({**given, **fixed, "name": name, "when": when, "description": about}))
        return out
