"""`/.vexfs/README`: a page about the tree."""

from __future__ import annotations

from typing import Final

from vexfs_fuse.control.nodes import Description
from vexfs_fuse.control.texts import Text

TEXT: Final = """\
VexFS control tree
==================

Everything about this mount is a file here. The directory does not show in
listings of the mount's root (unless mounted with --show-control); name it:
`cd .vexfs`. Only the user who mounted, and root, can enter. Where there are
tenants, theirs is below tenants/NAME, and `cd .vexfs/self` leads everybody to
what is their own.

README         this page
status         one screen: workflows, runs, events, queues
metrics        counters in Prometheus' text format
events         live stream of events, one JSON object a line: tail -f events
events.d/TYPE  the same by type; a name covers all below it, commas join some:
               cat events.d/dir,file.closed
ctl            commands; read it for the list: echo pause > ctl
error          why the last requests were refused, newest first
state          values that workflows share, as JSON:
               echo 'limits.size = 10' > state; echo 'delete limits' > state
inbox          events from outside: CloudEvents in JSON, written here
nl             a rule in English: write a sentence, read what it became,
               echo confirm > nl
breakers       web services, mail servers ... that actions call: which of them
               fail and are left alone for a while

workflows/     definition files, and a directory for each workflow
  FILE             copy, edit, move, remove: cp ingest.yaml workflows/
  NAME/definition  its text; write a new one to replace it
  NAME/status      state, triggers, errors, last runs
  NAME/trigger     what starts it; echo '{"size": 10}' > NAME/trigger starts it
  NAME/enabled     1 or 0; write it to change it
  NAME/graph       a picture of it, as text for Mermaid
  NAME/runs        its runs, newest first, one a line

explain/NAME   why a workflow, pattern or rule did or did not fire

patterns/      each pattern that is loaded
  NAME/definition, NAME/status, NAME/enabled

rules/         each rule and guard
  NAME/definition  what its file says of it
  NAME/status      what it did, what kept it from firing, why it is disabled
  NAME/enabled     1 or 0; write it to change it

analytics/     each stream of numbers, as DEFINITION.STREAM
  NAME/value       its newest window for each key
  NAME/history.csv its last windows
  NAME/sparkline   the same to look at
  NAME/status, NAME/enabled

models/        what learns from runs, and values that outcomes move
  NAME/status      examples, how good it is, what it goes by; or the value
  NAME/predict     echo '{"size": 10}' > NAME/predict, then read it
  NAME/approve     echo 'RUN yes' > NAME/approve: what people say of a run
  NAME/versions, NAME/version
                   echo 3 > NAME/version rolls back; snapshot makes one
  NAME/changes     how a value was moved; echo undo > NAME/changes
  NAME/enabled

graph/         who made what from what (once a definition asks for it)
  status           how much is known
  QUESTION/SUBJECT/json, dot, prov
                   lineage or impact of a path (inbox%2Fa.csv), or what a
                   process, user or run touched

machines/      each statechart, and the state of the system
  NAME/state       its instances: which states, since when, variables, timers
  NAME/event       events it waits for; echo 'approve in/a.pdf' > NAME/event
  NAME/history     its last moves
  system/state     Normal, HighLoad ...: echo Maintenance > system/state holds
                   it there, echo auto releases it
  system/history   how it got there

runs/          recent runs of workflows, newest first
  ID/status        a screen about the run
  ID/trace         its record as JSON: event, steps, results, errors
  ID/input, ID/output  what it was started with, what came of it
  ID/cancel        write anything to cancel the run
  ID/retry         write anything to start a failed run again

journal        the newest 1,000 records of the audit trail, one JSON object a
               line; `vexfs journal` asks for more, `vexfs verify` checks it

tenants/NAME/  what is here, for a tenant by itself: its users are at home there
               and see nothing else (it has no tenants, no self, no quit)
self           a link to what is the reader's own

A write either does what it says or fails with "Invalid argument", and `error`
says why. A definition takes effect when its file is closed. One that is wrong
fails the close and stays out; what ran before keeps running.

Readers of `events` start with the next event and wait for more. One that is
too slow loses the oldest and finds a `system.gap` record with the number lost.
"""


def readme(since_ns: int) -> Text:
    """The page."""
    return Text(lambda: TEXT, lambda: Description(0o400, len(TEXT.encode()), since_ns))
