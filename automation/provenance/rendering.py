"""A found part of the graph for other programs: JSON, Graphviz's DOT, PROV-JSON; and `vexfs graph`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from automation.errors import CallerError
from automation.terminal.mount import ControlFiles

_SHAPES: Final = {"file": "folder", "version": "note", "process": "box", "user": "house", "run": "component"}


def as_json(graph: dict[str, Any]) -> str:
    """As it is."""
    return _lines(graph)


def as_dot(graph: dict[str, Any]) -> str:
    """For Graphviz; effects above, causes below."""
    lines = ["digraph provenance {", "  rankdir=BT;"]
    for node in graph["nodes"]:
        label = _quoted("\n".join([node["label"], *node["labels"]]))
        lines.append(f"  {json.dumps(node['id'])} [label={label} shape={_SHAPES[node['kind']]}];")
    for edge in graph["edges"]:
        ends = f"{json.dumps(edge['from'])} -> {json.dumps(edge['to'])}"
        lines.append(f"  {ends} [label={json.dumps(edge['kind'])}];")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    """As a string of DOT, in which `\\n` is a line break and other escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)


_PROV: Final = {  # kind → PROV-JSON's section, the roles of its two ends, and whether it has a time
    "used": ("used", "prov:activity", "prov:entity", True),
    "wasGeneratedBy": ("wasGeneratedBy", "prov:entity", "prov:activity", True),
    "wasDerivedFrom": ("wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", False),
    "wasRevisionOf": ("wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", False),
    "wasAssociatedWith": ("wasAssociatedWith", "prov:activity", "prov:agent", False),
    "wasStartedBy": ("wasStartedBy", "prov:activity", "prov:trigger", True),
    "specializationOf": ("specializationOf", "prov:specificEntity", "prov:generalEntity", False),
    "wasInvalidatedBy": ("wasInvalidatedBy", "prov:entity", "prov:activity", True),
}
_SECTIONS: Final = {"file": "entity", "version": "entity", "process": "activity", "run": "activity", "user": "agent"}


def as_prov(graph: dict[str, Any]) -> dict[str, Any]:
    """PROV-JSON (W3C member submission of 2013); `renamed` and `linked` are our own words and left out."""
    out: dict[str, Any] = {"prefix": {"vexfs": "urn:vexfs:"}}
    for node in graph["nodes"]:
        about = {"prov:label": node["label"], "prov:type": _qualified(f"vexfs:{node['kind']}")}
        if node["labels"]:
            about["vexfs:labels"] = node["labels"]
        out.setdefault(_SECTIONS[node["kind"]], {})[_name(node["id"])] = about
    for number, edge in enumerate(graph["edges"]):
        if edge["kind"] in _PROV:
            section, source, target, timed = _PROV[edge["kind"]]
            relation: dict[str, Any] = {source: _name(edge["from"]), target: _name(edge["to"])}
            if timed:
                relation["prov:time"] = _time(edge["ts"])
            if edge["kind"] == "wasRevisionOf":
                relation["prov:type"] = _qualified("prov:Revision")
            out.setdefault(section, {})[f"_:r{number}"] = relation
    return out


def _name(key: str) -> str:
    """A qualified name: its local part may hold no further colon."""
    return f"vexfs:{key.replace(':', '.')}"


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "xsd:QName"}


def _time(ts: int) -> str:
    return datetime.datetime.fromtimestamp(ts / 1e9, datetime.UTC).isoformat()


def as_prov_json(graph: dict[str, Any]) -> str:
    """As text."""
    return _lines(as_prov(graph))


def _lines(value: dict[str, Any]) -> str:
    """JSON with a line for each item: a quarter of the time that `indent` takes, which json has in Python only."""
    return json.dumps(value, separators=(",\n ", ": ")) + "\n"


FORMS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {"json": as_json, "dot": as_dot, "prov": as_prov_json}


def encoded(subject: str) -> str:
    """A path as the name of one directory entry: `inbox/a b` is `inbox%2Fa%20b`."""
    return quote(os.fsencode(subject), safe="")


def main(argv: list[str] | None = None) -> int:
    """`vexfs graph`: shows `/.vexfs/graph/QUESTION/SUBJECT/FORM`; 1 when that cannot be read, 2 without a mount."""
    parser = argparse.ArgumentParser(prog="vexfs graph", description="who made what from what")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("question", choices=("lineage", "impact", "runs", "process", "user", "run"))
    parser.add_argument("subject", metavar="SUBJECT", help="a path in the mount, a pid, a uid, the identity of a run")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dot", dest="form", action="store_const", const="dot", help="for Graphviz")
    form.add_argument("--prov", dest="form", action="store_const", const="prov", help="PROV-JSON")
    given = parser.parse_args(argv)
    subject = encoded(given.subject.strip("/"))
    try:
        control = ControlFiles(given.mountpoint).path
        with open(os.path.join(control, "graph", given.question, subject, given.form or "json")) as file:
            sys.stdout.write(file.read())
    except CallerError as error:
        print(f"vexfs graph: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        told = f"{given.subject} cannot be told about: {error.strerror}; see {os.path.join(control, 'error')}"
        print(f"vexfs graph: {told}", file=sys.stderr)
        return 1
    return 0
