"""What can be said: for each kind of clause its forms, as hassil templates, and how each is shown to a person.

`(a|b)` are alternatives, `[a]` may be left out, `<a>` is a rule below, `{place}` a word of the author's own. What the
words in capitals stand for is in docs/language.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Form(NamedTuple):
    """One form of a clause: its name, its templates, and examples with words in capitals for what is the author's."""

    name: str
    templates: tuple[str, ...]
    shown: tuple[str, ...]


TRIGGERS: Final = (
    Form(
        "file",
        (
            "<when> <thing> {happening} [<where>] [<who>] [<unless>] [and <quiet>]",
            "<when> <thing> {happening} (from|in) {place} (to|into) {target} [<who>] [<unless>]",
            "<when> [<where>] <thing> {happening} [<who>] [and <quiet>]",
            "<when> <thing> [<where>] {happening} [<who>] [and <quiet>]",
        ),
        (
            "when a file arrives in PLACE",
            "when a KIND over SIZE arrives in PLACE and is quiet for SPAN",
            "when a file called NAME in PLACE is changed by PROGRAM",
            "when a file is deleted from PLACE",
            "when a KIND is renamed in PLACE except in PLACE",
        ),
    ),
    Form(
        "folder",
        ("<when> <article> (directory|folder) {folding} [<where>] [<who>] [<unless>]",),
        ("when a folder is created in PLACE", "when a folder is deleted from PLACE"),
    ),
    Form(
        "clock",
        (
            "[on] (every|each) <day> at {clock}",
            "(on (weekdays|weekends)|(every|each) (weekday|weekend)) at {clock}",
            "[on] (every|each) <weekday> and <weekday> at {clock}",
            "(daily|nightly) at {clock}",
            "(every|each) day at {clock}",
            "on the {ordinal} of (every|each|the) month at {clock}",
            "(every|each) month on the {ordinal} at {clock}",
            "at {clock} (every|each) (day|<day>)",
            "at {clock} on the {ordinal} of (every|each|the) month",
        ),
        (
            "every day at TIME",
            "every monday at TIME",
            "every weekday at TIME",
            "on the 1st of every month at TIME",
        ),
    ),
    Form(
        "pace",
        ("(every|each) ({span}|{beat})", "once (every|each) ({beat}|{span})", "once {span}", "{hourly}"),
        ("every SPAN", "every hour"),
    ),
    Form(
        "state",
        (
            "<when> <measure> <comes> {compare} {amount} [full|used] [for {span}]",
            "<when> <measure> <comes> [{compare}] {amount} (full|used) [for {span}]",
            "<when> <measure> <comes> (full|used) {compare} {amount} [for {span}]",
        ),
        ("when disk usage is above PERCENT for SPAN", "when the disk is more than PERCENT full"),
    ),
    Form(
        "value",
        (
            "<when> [the] (state|value) {place} (is|becomes|equals|turns) [to] {value} [for {span}]",
            "<when> [the] (state|value) {place} <comes> {compare} {amount} [for {span}]",
            "<when> [the] (state|value) {place} {changes:any}",
        ),
        ("when the state NAME becomes VALUE", "when the state NAME is above NUMBER", "when the state NAME changes"),
    ),
    Form(
        "anomaly",
        ("<when> (an anomaly|[a|an] {anomaly}) is (detected|found|seen) [of [at least] {severity} severity]",),
        ("when an anomaly is detected", "when a volume spike is detected of at least high severity"),
    ),
    Form(
        "outside", ("<when> an event {place} (comes|arrives) from outside",), ("when an event NAME comes from outside",)
    ),
)

ACTIONS: Final = (
    Form(
        "copy",
        ("copy <it> (to|into) {place} [{replacing}]", "(keep|put|save) a copy [of <it>] in {place} [{replacing}]"),
        ("copy it to PLACE", "copy it to PLACE replacing what is there"),
    ),
    Form("move", ("(move|put) <it> (to|into|in) {place} [{replacing}]",), ("move it to PLACE",)),
    Form("delete", ("(delete|remove|erase) <it>",), ("delete it",)),
    Form("archive", ("(pack|archive|compress|zip) <it> (to|into|as) {place}",), ("pack it into PLACE.tar.gz",)),
    Form(
        "checksum",
        ("checksum <it>", "(take|compute|calculate|record) (its|the) (checksum|digest) [of <it>]"),
        ("checksum it",),
    ),
    Form("read_only", ("make <it> (read-only|read only)",), ("make it read-only",)),
    Form("executable", ("make <it> executable",), ("make it executable",)),
    Form(
        "mode",
        ("(set|change) (its|the) (mode|permissions) [of <it>] to {number}",),
        ("set its mode to 0640",),
    ),
    Form("label", ("(label|tag|mark) <it> [as|with] {place}",), ("label it TEXT",)),
    Form("snapshot", ("snapshot <it>", "(take|keep) a (snapshot|version) of <it>"), ("keep a version of it",)),
    Form("http", ("(call|ping|visit) {url}",), ("call URL",)),
    Form("post", ("(post|report) <event> to {url}", "tell {url}"), ("post the event to URL", "tell URL")),
    Form("upload", ("(upload|send) <it> to {url}",), ("upload it to URL",)),
    Form("log", ("(log|note|say) {text}",), ('log "TEXT"',)),
    Form("warn", ("warn {text}", "log the warning {text}"), ('warn "TEXT"',)),
    Form("notify", ("(notify|tell) me {text}",), ('notify me "TEXT"',)),
    Form("chat", ("(send|post) {text} to {chat}",), ('send "TEXT" to slack',)),
    Form("write", ("write {text} (to|into) {place}",), ('write "TEXT" to PLACE',)),
    Form("append", ("(append|add) {text} to {place}",), ('append "TEXT" to PLACE',)),
    Form("command_on", ("(run|execute) {text} (on|with) <it>",), ('run "COMMAND" on it',)),
    Form("command", ("(run|execute) {text}",), ('run "COMMAND"',)),
    Form("emit", ("(emit|announce|publish) [the event] {place}",), ("emit user.NAME",)),
    Form("set", ("set [the] [state|value] {place} to {value}",), ("set the state NAME to VALUE",)),
    Form("workflow", ("(start|trigger|launch) [the] [workflow] {place}",), ("start the workflow NAME",)),
    Form("mkdir", ("(make|create) (a|the) (folder|directory) {place}",), ("make the folder PLACE",)),
)

LIMITS: Final = (
    Form(
        "rate",
        (
            "<most> <times> (a|an|per|each|every) {each} [in all]",
            "<most> <times> {span}",
            "<most> <times> (in|per|every|each) {span}",
        ),
        ("at most 3 times an hour", "at most once a day", "at most twice every SPAN"),
    ),
    Form(
        "cooldown",
        ("[but] not more often than every ({span}|{each}) [(per|for each|for every) file]",),
        ("not more often than every SPAN",),
    ),
    Form(
        "together",
        ("<most> {number} (at a time|at once)", "{number} (at a time|after the other)"),
        ("one at a time", "at most 2 at a time"),
    ),
    Form(
        "retry",
        ("[if it fails] (retry|try again) [up to] <times>",),
        ("retry 3 times",),
    ),
    Form("timeout", ("(give up|stop) after {span}",), ("give up after SPAN",)),
    Form("priority", ("with {priority} priority",), ("with high priority",)),
    Form("dry_run", ("[only] (as a dry run|on paper|pretend)",), ("as a dry run",)),
    Form("name", ("(named|called) {place}", "under the name {place}"), ("named NAME",)),
)

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "when": "(when|whenever|if|once|as soon as|every time|each time)",
        "article": "(a|an|any|some|every|each|the|another)",
        "thing": "<article> [new] ([{kind}] file|{kind}|file) [<size>] [<naming>]",
        "size": "[of|with] ({compare} {size}|between {low} and {size})",
        "naming": "(called|named|matching) {name}",
        "where": "({directly} in {place}|(in|into|to|from|under|below|inside|at) {place}|anywhere)",
        "who": "by [program|the program] {program}",
        "unless": "[but] (except|not|unless) (in|under|below) {except}",
        "quiet": "(is|stays|has been|lies|remains) (quiet|still|untouched|unchanged|complete) for {span}",
        "it": "(it|[the|that|this] [same|new|whole] file|the {kind})",
        "event": "(it|[the|this|that] event|what happened)",
        "most": "[but] (at most|no more than|not more than|only|max|maximum)",
        "times": "({once}|{number} times)",
        "measure": "{measure}",
        "comes": "(is|are|gets|becomes|goes|rises|falls|climbs|drops|stays)",
        "weekday": "{weekday}",
        "day": "({weekday}|weekday|weekend)",
    }
)

OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(("place", "target", "program", "except", "name"), ("word", "name", "text")),
        "value": ("word", "name", "text", "number", "percent"),
    }
)
"""Words that are the author's own, and the kinds of words that they may be."""

LITERAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{kind: (kind,) for kind in ("text", "url", "clock", "size", "span", "number")},
        "low": ("size",),
        "amount": ("number", "percent"),
    }
)
"""Words that are told by what they look like."""

_ENDINGS: Final = (
    *(
        "csv",
        "pdf",
        "txt",
        "log",
        "json",
        "xml",
        "yaml",
        "html",
        "md",
        "tex",
        "epub",
        "sql",
        "db",
        "py",
        "js",
        "c",
        "h",
    ),
    *("png", "gif", "svg", "mp3", "wav", "mp4", "mkv", "mov", "avi", "zip", "tar", "gz", "iso", "bak", "tmp", "part"),
    *("doc", "docx", "odt", "xls", "xlsx", "ppt", "pptx"),
)

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{word: word for word in _ENDINGS},
        "jpg": "{jpg,jpeg}",
        "jpeg": "{jpg,jpeg}",
        "image": "{jpg,jpeg,png,gif,webp,svg,heic,tif,tiff}",
        "picture": "{jpg,jpeg,png,gif,webp,svg,heic,tif,tiff}",
        "photo": "{jpg,jpeg,heic}",
        "video": "{mp4,mkv,mov,avi,webm}",
        "document": "{pdf,doc,docx,odt,rtf}",
        "spreadsheet": "{csv,ods,xls,xlsx}",
        "presentation": "{odp,ppt,pptx}",
        "archive": "{zip,tar,gz,tgz,xz,zst,7z}",
        "sound": "{mp3,wav,flac,ogg,m4a}",
        "script": "{sh,py,js,lua,pl,rb}",
    }
)
"""Kinds of files → what the end of their names matches."""

HAPPENINGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "file.closed file.renamed file.linked": (
            "arrives",
            "lands",
            "appears",
            "is uploaded",
            "is put",
            "comes",
            "is dropped",
        ),
        "file.closed": ("is saved", "is written", "is changed", "changes", "is modified", "is edited", "is updated"),
        "file.created": ("is created", "is made"),
        "file.deleted": ("is deleted", "is removed", "disappears", "is erased"),
        "file.renamed": ("is renamed", "is moved"),
        "file.opened": ("is opened",),
        "file.read": ("is read",),
        "file.attr.mode": (
            "changes its mode",
            "changes its permissions",
            "gets another mode",
            "gets other permissions",
        ),
        "file.attr.owner": ("changes its owner", "gets another owner"),
        "file.attr.xattr": ("is labelled", "is tagged"),
    }
)
"""Event types → what happens to a file, the first as it is said back."""

FOLDINGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "dir.created": ("is created", "is made", "appears"),
        "dir.deleted": ("is deleted", "is removed", "disappears"),
        "dir.renamed": ("is renamed", "is moved"),
    }
)

COMPARISONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        ">": ("over", "above", "more than", "larger than", "bigger than", "greater than", "exceeding"),
        "<": ("under", "below", "less than", "smaller than"),
        ">=": ("at least", "no less than", "no smaller than"),
        "<=": ("at most", "no more than", "no larger than", "up to"),
    }
)

ANOMALIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "volume_spike": ("volume spike", "spike of events"),
        "volume_drop": ("volume drop", "drop of events"),
        "latency_spike": ("latency spike",),
        "error_rate": ("high error rate", "error rate anomaly"),
        "unusual_pattern": ("unusual pattern",),
        "resource_exhaustion": ("resource exhaustion", "exhaustion of resources"),
    }
)

MEASURES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "disk_usage": ("disk usage", "the disk usage", "the disk", "disk", "the usage of the disk"),
        "memory_pressure": ("memory pressure", "the memory pressure", "the memory", "memory"),
        "error_rate": ("the error rate", "error rate", "the rate of errors"),
        "queue_usage": ("queue usage", "the queue usage", "the queues", "the queue"),
    }
)

_ORDINALS: Final = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)
WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
UNITS: Final = ("second", "minute", "hour", "day", "week")


def _ordinals() -> dict[str, tuple[str, ...]]:
    out = {}
    for n in range(1, 32):
        end = "th" if n in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
        out[str(n)] = (f"{n}{end}", *_ORDINALS[n - 1 : n])
    return out


LISTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "kind": {word: (word,) for word in KINDS},
        "happening": HAPPENINGS,
        "folding": FOLDINGS,
        "compare": COMPARISONS,
        "measure": MEASURES,
        "directly": {"yes": ("directly",)},
        "replacing": {"yes": ("replacing what is there", "overwriting what is there")},
        "changes": {"any": ("changes",)},
        "once": {"1": ("once",), "2": ("twice",)},
        "each": {unit: (unit,) for unit in UNITS},
        "beat": {unit: (unit,) for unit in UNITS[:3]},
        "hourly": {"hour": ("hourly",)},
        "weekday": {day: (day,) for day in WEEKDAYS},
        "ordinal": _ordinals(),
        "anomaly": ANOMALIES,
        "severity": {name: (name,) for name in ("low", "medium", "high", "critical")},
        "chat": {name: (name,) for name in ("slack", "discord", "teams")},
        "priority": {name: (name,) for name in ("low", "normal", "high", "critical")},
    }
)
"""Words of which one must be there → what each stands for."""
