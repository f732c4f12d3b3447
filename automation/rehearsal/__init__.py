"""Every detector on a virtual clock, with no mount and no effect: what would happen, as plain records.

    loading      files → an ensemble: workflows (Lua ones too), rules, machines, thresholds of the system state
    world        the shared state and the time, which all see; the events that detection makes itself
    workflows, rules, machines   what acts, each fed like its desk on a mount
    rehearsal    one event or moment after the other through all of them and the patterns
    records      the form of what is told

`automation.replay` reads the lines and `automation.expectations` compares.
"""

from automation.rehearsal.loading import Ensemble, load_ensemble
from automation.rehearsal.rehearsal import Rehearsal

__all__ = ["Ensemble", "Rehearsal", "load_ensemble"]
