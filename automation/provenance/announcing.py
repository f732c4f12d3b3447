"""Facts → the events of the graph, as far as anybody hears them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from automation.events import SemanticEvent
from automation.provenance.facts import Act, Again, Fact, Labelled, Named, NewAgent, NewFile, NewVersion, Read
from automation.provenance.graph import KINDS


def events_of(
    facts: Iterable[Fact], heard: Callable[[str], bool], ts: int | None = None, agents: dict[int, str] | None = None
) -> Iterator[SemanticEvent]:
    """In the order of the facts; their time is now unless given. `agents` are those of earlier facts that are runs."""
    nodes, updates, edges = (heard(f"graph.{name}") for name in ("node.created", "node.updated", "edge.created"))
    labels, losses = heard("graph.property.set"), heard("graph.property.deleted")
    gone, repeats = heard("graph.node.deleted"), heard("graph.edge.updated")
    agents = {} if agents is None else agents
    new = 0
    for fact in facts:
        match fact:
            case Labelled():
                if losses if fact.lost else labels:
                    yield _label_event(fact, ts)
            case NewAgent():
                if fact.kind == "run":
                    agents[fact.id] = f"run:{fact.number}"
                agent = _key(fact.id, agents)
                if updates if fact.again else nodes:
                    name = "graph.node.updated" if fact.again else "graph.node.created"
                    yield _node(name, agent, fact.kind, f"{fact.name} ({fact.number})", ts)
                if edges and fact.kind == "process" and not fact.again:
                    yield _edge(agent, "wasAssociatedWith", f"user:{fact.uid}", ts)
            case NewFile():
                new = fact.id
                if nodes:
                    yield _node("graph.node.created", f"file:{fact.id}", "file", fact.path, ts)
            case NewVersion():
                if nodes:
                    yield _node("graph.node.created", f"version:{fact.id}", "version", fact.path, ts)
                for kind, target in _origins(fact, agents) if edges else ():
                    yield _edge(f"version:{fact.id}", kind, target, ts)
            case Read() if edges:
                yield _edge(_key(fact.agent, agents), "used", f"version:{fact.version}", ts)
            case Again() if repeats:
                agent = _key(fact.agent, agents)
                target = f"version:{fact.target}" if fact.kind == "used" else f"file:{fact.target}"
                yield _edge_again(agent, KINDS.get(fact.kind, fact.kind), target, fact, ts)
            case Named() if updates and not fact.gone and fact.file != new:
                yield _node("graph.node.updated", f"file:{fact.file}", "file", fact.path, ts)
            case Act():
                agent = _key(fact.agent, agents)
                kind = "version" if fact.kind == "started" else "file"
                target = f"{kind}:{fact.target}"
                if edges and fact.kind == "invalidated":
                    yield _edge(target, KINDS[fact.kind], agent, ts)
                elif edges:
                    yield _edge(agent, KINDS[fact.kind], target, ts)
                if gone and fact.kind == "invalidated":
                    yield _node("graph.node.deleted", f"file:{fact.target}", "file", "", ts)


def _key(agent: int, runs: dict[int, str]) -> str:
    return runs.get(agent) or f"process:{agent}"


def _origins(fact: NewVersion, agents: dict[int, str]) -> Iterator[tuple[str, str]]:
    yield "specializationOf", f"file:{fact.file}"
    if fact.maker:
        yield "wasGeneratedBy", _key(fact.maker, agents)
    if fact.before:
        yield "wasRevisionOf", f"version:{fact.before}"
    yield from (("wasDerivedFrom", f"version:{one}") for one in fact.sources)


def _node(type: str, key: str, kind: str, label: str, ts: int | None) -> SemanticEvent:
    return SemanticEvent(type, attrs={"node": key, "kind": kind, "label": label}, ts=ts)


def _edge(source: str, kind: str, target: str, ts: int | None) -> SemanticEvent:
    return SemanticEvent("graph.edge.created", attrs={"from": source, "kind": kind, "to": target}, ts=ts)


def _edge_again(source: str, kind: str, target: str, fact: Again, ts: int | None) -> SemanticEvent:
    attrs = {"from": source, "kind": kind, "to": target, "count": fact.times, "last": fact.ts}
    return SemanticEvent("graph.edge.updated", attrs=attrs, ts=ts)


def _label_event(fact: Labelled, ts: int | None) -> SemanticEvent:
    """A labelled file is at a path: who brought it there, and by what."""
    event = fact.event
    attrs: dict[str, Any] = {"labels": list(fact.labels), "version": f"version:{fact.version}", "by": event.type}
    return SemanticEvent(
        "graph.property.deleted" if fact.lost else "graph.property.set",
        fact.path,
        inode=event.inode,
        pid=event.pid,
        uid=event.uid,
        gid=event.gid,
        comm=event.comm,
        cause=event.cause,
        attrs=attrs | {"from": event.path},
        ts=ts,
    )
