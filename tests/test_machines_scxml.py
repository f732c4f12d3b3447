"""SCXML documents run as the recommendation says: each file ends in its state `pass`, on a virtual clock.

Files of others are tried as well, with no list to be kept: those in directories below tests/scxml, and those of the
directory that VEXFS_SCXML_DIR names; the W3C's own suite in its ECMAScript or null form, for instance. What needs
`<invoke>`, `<script>`, a network or another data model is passed over, and so are templates (`conf:…` attributes),
which become documents by the W3C's own style sheets.
"""

import os
import re
from pathlib import Path

import pytest

from automation.errors import DefinitionError
from automation.events import SemanticEvent
from automation.machines.detector import Detector
from automation.machines.loading import load, load_scxml
from automation.machines.outcomes import Moved

OWN = sorted((Path(__file__).parent / "scxml").glob("*.scxml"))
GIVEN = os.environ.get("VEXFS_SCXML_DIR")
BELOW = (Path(__file__).parent / "scxml").glob("*/**/*.scxml")
OTHERS = sorted([*BELOW, *(Path(GIVEN).rglob("*.scxml") if GIVEN else [])])
OTHER_CODE = ("BasicHTTPEventProcessor", "<invoke", "<script", "function(")
DATA_MODELS = {"ecmascript", "cel", "null"}


def final_state(path: Path) -> tuple[str, list[str]]:
    """Where the machine of a file ends, and what went wrong on the way."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    machine = load_scxml(path.name, text, lambda source: (path.parent / source.removeprefix("file:")).read_text())
    detector = Detector(machine)
    outcomes = detector.start(0)
    for _ in range(1000):
        due = detector.deadline()
        if due is None:
            break
        outcomes = outcomes + detector.advance(due)
    moves = [outcome for outcome in outcomes if isinstance(outcome, Moved)]
    return " ".join(moves[-1].after) if moves else "", [fault for move in moves for fault in move.faults]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_each_document_ends_in_pass(path):
    """The cases in tests/scxml, one rule of the recommendation each, said in the file's comment."""
    assert final_state(path) == ("pass", final_state(path)[1])


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_documents_of_others_end_in_pass(path):
    """The same for VEXFS_SCXML_DIR."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if any(word in text for word in OTHER_CODE):
        pytest.skip("it needs other sessions, scripts or a network")
    if not {*re.findall(r"""<scxml\b[^>]*\bdatamodel=["'](\w+)""", text)} <= DATA_MODELS:
        pytest.skip("it needs another data model")
    if re.search(r"<conf:|\sconf:\w+=", text):
        pytest.skip("it is a template, to be made a document by the style sheet of a data model")
    if 'id="pass"' not in text:
        pytest.skip("it has no state called pass")
    assert final_state(path)[0] == "pass"


WRONG = {
    "<scxml><state id='a'><transition target='b'/></state></scxml>": (1, "there is no state 'b'"),
    "<scxml>\n<state id='a'/>\n<state id='a'/></scxml>": (3, "another state is already called 'a'"),
    "<scxml>\n<state id='a'>\n<invoke/></state></scxml>": (3, "<invoke> is not supported"),
    "<scxml>\n<script>x</script><state/></scxml>": (2, "<script> is not supported"),
    "<scxml><stat/></scxml>": (1, "did you mean 'state'?"),
    "<scxml><state><onentry><rise event='x'/></onentry></state></scxml>": (1, "did you mean 'raise'?"),
    "<scxml><state><onentry><raise/></onentry></state></scxml>": (1, "this attribute is required"),
    "<scxml><state>": (1, "not XML: no element found"),
    "<html/>": (1, "<scxml> is expected"),
    "<scxml datamodel='xpath'><state/></scxml>": (1, "the data models are"),
    "<scxml datamodel='null'><state><transition cond='x'/></state></scxml>": (1, "knows only In('state')"),
    "<scxml datamodel='cel'>\n<state>\n<transition cond='x +'/></state></scxml>": (3, "is no expression"),
    "<scxml/>": (1, "has no states"),
    "<scxml><state><initial><transition/></initial><state/></state></scxml>": (1, "does not say where it begins"),
    "<?xml version='1.0' encoding='nonsense'?>\n<scxml><rest/></scxml>": (2, "<rest> has no place"),
    "<!DOCTYPE x [<!ENTITY a 'b'>]><scxml><state/></scxml>": (1, "a DOCTYPE is not allowed"),
    "<scxml><state id='a'><history id='h'/><state/></state></scxml>": (1, "needs a default"),
    "<scxml xmlns:v='urn:vexfs'>\n<state><onentry><v:coppy/></onentry></state></scxml>": (2, "did you mean 'copy'?"),
    "<scxml><state id='a'><transition target='x y'/></state><state id='x'/><state id='y'/></scxml>": (
        1,
        "'x' and 'y' cannot be active at once",
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_document_is_refused_with_its_line(text):
    """What can be seen without running is a DefinitionError with file, line and a sentence."""
    line, reason = WRONG[text]
    with pytest.raises(DefinitionError) as caught:
        load("m.scxml", text)
    assert (caught.value.path, caught.value.line) == ("m.scxml", line)
    assert reason in str(caught.value)


def test_a_document_takes_events_of_the_mount_and_acts():
    """Attributes and elements of the namespace urn:vexfs: key, path and actions; `_event.data` are the facts."""
    machine = load(
        "m.scxml",
        """<scxml xmlns="http://www.w3.org/2005/07/scxml" xmlns:v="urn:vexfs" v:key="path" v:path="in/**" initial="a">
             <state id="a">
               <transition event="file.closed" cond="_event.data.size > 3" target="b">
                 <v:copy source="{{ event.path }}" target="out/{{ event.name }}"/>
               </transition>
             </state>
             <state id="b"/>
           </scxml>""",
    )
    detector = Detector(machine)
    assert detector.feed(SemanticEvent("file.closed", "in/small", size=3)) == []
    assert detector.feed(SemanticEvent("file.closed", "elsewhere", size=9)) == []
    moved = detector.feed(SemanticEvent("file.closed", "in/large", size=9))[-1]
    assert moved.actions == ({"type": "copy", "source": "in/large", "target": "out/large"},)
    assert detector.states("in/large") == ("b",)


def test_what_a_document_says_of_its_machine_is_heeded():
    """`own`, `failed` and `enabled` are as in YAML; they were read and forgotten."""
    machine = load(
        "m.scxml",
        """<scxml xmlns="http://www.w3.org/2005/07/scxml" xmlns:v="urn:vexfs" v:own="true" v:failed="true"
                  v:enabled="false"><state id="a"/></scxml>""",
    )
    assert machine.own and machine.failed and not machine.enabled
