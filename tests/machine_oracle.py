"""The algorithm of the SCXML recommendation, appendix D, written down naively: lists of nodes, nothing remembered.

A chart is a mapping as in YAML; what a machine does is told by the `log` actions of its states and transitions.
"""

from typing import Any


class Node:
    """One state of the chart."""

    def __init__(self, name: str, form: dict[str, Any], parent: "Node | None", nodes: list["Node"]):
        self.name, self.form, self.parent = name, form, parent
        self.order = len(nodes)
        nodes.append(self)
        self.all = [Node(child, inner, self, nodes) for child, inner in form.get("states", {}).items()]
        self.children = [node for node in self.all if not node.is_history]
        self.transitions: list[Arrow] = []

    @property
    def is_history(self) -> bool:
        return "history" in self.form

    @property
    def is_parallel(self) -> bool:
        return self.form.get("type") == "parallel"

    @property
    def is_final(self) -> bool:
        return self.form.get("type") == "final"

    @property
    def is_atomic(self) -> bool:
        return not self.children

    @property
    def is_compound(self) -> bool:
        return bool(self.children) and not self.is_parallel

    def ancestors(self, until: "Node | None" = None) -> list["Node"]:
        out, node = [], self.parent
        while node is not None and node is not until:
            out.append(node)
            node = node.parent
        return out

    def descends(self, other: "Node") -> bool:
        return other in self.ancestors()


class Arrow:
    """One transition."""

    def __init__(self, source: Node, event: str | None, form: dict[str, Any], nodes: dict[str, Node]):
        self.source, self.event, self.form = source, event, form
        self.targets = [nodes[name] for name in form.get("target", [])]
        self.internal = form.get("internal", False)


class Oracle:
    """Runs one instance; `said` are the log lines of the last step."""

    def __init__(self, chart: dict[str, Any]):
        ordered: list[Node] = []
        self.root = Node("", chart, None, ordered)
        self.nodes = {node.name: node for node in ordered}
        for node in ordered:
            for event, forms in node.form.get("on", {}).items():
                node.transitions += [Arrow(node, event, form, self.nodes) for form in forms]
            node.transitions += [Arrow(node, None, form, self.nodes) for form in node.form.get("always", [])]
            if node.form.get("done"):
                done = f"done.state.{node.name}"
                node.transitions += [Arrow(node, done, form, self.nodes) for form in node.form["done"]]
        self.configuration: list[Node] = []
        self.history: dict[str, list[Node]] = {}
        self.queue: list[str] = []
        self.said: list[str] = []
        self.running = True
        first = [self._initial(self.root)]
        self._enter_for(first, self.root)
        self._settle()

    def names(self) -> list[str]:
        return [node.name for node in sorted(self.configuration, key=lambda n: n.order) if node is not self.root]

    def event(self, name: str) -> None:
        self.said = []
        arrows = self._select(name)
        if arrows:
            self._microstep(arrows)
        self._settle()

    def _settle(self) -> None:
        for _ in range(200):
            if not self.running:
                break
            arrows = self._select(None)
            if not arrows:
                if not self.queue:
                    return
                arrows = self._select(self.queue.pop(0))
            if arrows:
                self._microstep(arrows)
        else:
            raise RecursionError
        self.queue = []

    def _select(self, event: str | None) -> list[Arrow]:
        enabled: list[Arrow] = []
        for state in sorted((n for n in self.configuration if n.is_atomic), key=lambda n: n.order):
            found = next(
                (
                    arrow
                    for node in [state, *state.ancestors()]
                    for arrow in node.transitions
                    if self._fits(arrow, event) and self._holds(arrow)
                ),
                None,
            )
            if found is not None and found not in enabled:
                enabled.append(found)
        return self._filtered(enabled)

    @staticmethod
    def _fits(arrow: Arrow, event: str | None) -> bool:
        if arrow.event is None or event is None:
            return arrow.event is None and event is None
        return arrow.event == "*" or event == arrow.event or event.startswith(arrow.event + ".")

    def _holds(self, arrow: Arrow) -> bool:
        when = arrow.form.get("when")
        return when is None or self.nodes[when[4:-2]] in self.configuration

    def _filtered(self, enabled: list[Arrow]) -> list[Arrow]:
        kept: list[Arrow] = []
        for one in enabled:
            preempted, beaten = False, []
            for other in kept:
                if set(self._exits([one])) & set(self._exits([other])):
                    if one.source.descends(other.source):
                        beaten.append(other)
                    else:
                        preempted = True
                        break
            if not preempted:
                kept = [arrow for arrow in kept if arrow not in beaten] + [one]
        return kept

    def _exits(self, arrows: list[Arrow]) -> list[Node]:
        out: list[Node] = []
        for arrow in arrows:
            if arrow.targets:
                domain = self._domain(arrow)
                out += [node for node in self.configuration if node.descends(domain) and node not in out]
        return out

    def _effective(self, targets: list[Node]) -> list[Node]:
        out: list[Node] = []
        for node in targets:
            if not node.is_history:
                found = [node]
            elif node.name in self.history:
                found = self.history[node.name]
            else:
                found = self._effective([self.nodes[name] for name in node.form["target"]])
            out += [one for one in found if one not in out]
        return out

    def _domain(self, arrow: Arrow) -> Node:
        targets = self._effective(arrow.targets)
        if arrow.internal and arrow.source.is_compound and all(t.descends(arrow.source) for t in targets):
            return arrow.source
        for node in arrow.source.ancestors():
            if (node.is_compound or node is self.root) and all(t.descends(node) for t in targets):
                return node
        raise AssertionError

    def _microstep(self, arrows: list[Arrow]) -> None:
        leaving = sorted(self._exits(arrows), key=lambda n: -n.order)
        for node in leaving:
            for history in (one for one in node.all if one.is_history):
                if history.form["history"] == "deep":
                    kept = [n for n in self.configuration if n.is_atomic and n.descends(node)]
                else:
                    kept = [n for n in self.configuration if n.parent is node]
                self.history[history.name] = sorted(kept, key=lambda n: n.order)
        for node in leaving:
            self._do(node.form.get("exit", []))
            self.configuration.remove(node)
        for arrow in arrows:
            self._do(arrow.form.get("do", []))
        to_enter: list[Node] = []
        for arrow in arrows:
            if arrow.targets:
                for target in arrow.targets:
                    self._add(target, to_enter)
                for target in self._effective(arrow.targets):
                    self._add_ancestors(target, self._domain(arrow), to_enter)
        self._enter(to_enter)

    def _enter_for(self, targets: list[Node], domain: Node) -> None:
        self.configuration = [self.root]
        to_enter: list[Node] = []
        for target in targets:
            self._add(target, to_enter)
        for target in self._effective(targets):
            self._add_ancestors(target, domain, to_enter)
        self._enter(to_enter)

    def _initial(self, node: Node) -> Node:
        given = node.form.get("initial")
        return self.nodes[given] if given else node.children[0]

    def _add(self, node: Node, out: list[Node]) -> None:
        if node.is_history:
            assert node.parent is not None
            found = self.history.get(node.name) or [self.nodes[name] for name in node.form["target"]]
            for one in found:
                self._add(one, out)
            for one in found:
                self._add_ancestors(one, node.parent, out)
            return
        if node not in out:
            out.append(node)
        if node.is_compound:
            first = self._initial(node)
            self._add(first, out)
            for one in self._effective([first]):
                self._add_ancestors(one, node, out)
        elif node.is_parallel:
            self._add_regions(node, out)

    def _add_regions(self, node: Node, out: list[Node]) -> None:
        for child in node.children:
            if not any(one is child or one.descends(child) for one in out):
                self._add(child, out)

    def _add_ancestors(self, node: Node, until: Node, out: list[Node]) -> None:
        for ancestor in node.ancestors(until):
            if ancestor is self.root:
                continue
            if ancestor not in out:
                out.append(ancestor)
            if ancestor.is_parallel:
                self._add_regions(ancestor, out)

    def _enter(self, nodes: list[Node]) -> None:
        for node in sorted(nodes, key=lambda n: n.order):
            if node not in self.configuration:  # a set, in the standard
                self.configuration.append(node)
            self._do(node.form.get("entry", []))
            if node.is_final:
                self._final(node)

    def _final(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        if parent is self.root:
            self.running = False
            for left in sorted(self.configuration, key=lambda n: -n.order):
                self._do(left.form.get("exit", []))
            return
        self.queue.append(f"done.state.{parent.name}")
        above = parent.parent
        if above is not None and above.is_parallel and all(self._done(child) for child in above.children):
            self.queue.append(f"done.state.{above.name}")

    def _done(self, node: Node) -> bool:
        if node.is_compound:
            return any(child.is_final and child in self.configuration for child in node.children)
        return node.is_parallel and all(self._done(child) for child in node.children)

    def _do(self, things: list[dict[str, Any]]) -> None:
        for thing in things:
            if "raise" in thing:
                self.queue.append(thing["raise"])
            else:
                self.said.append(thing["log"])
