"""Statecharts over the stream of events, and the state of the system.

In the order in which a machine is read:
    model, loading              YAML and JSON → validated forms → outline (`notation`)
    scxml                       the W3C notation → outline; `ecmascript`, `ecmascript_values` for its expressions
    expressions, closures       CEL conditions and values; `content` what a chart does
    outline, chart              states, transitions and names → numbered states, sets as bits
    machine                     chart, key and filters: a definition, compiled
In the order in which an event travels:
    detector                    finds the instance, minds timers and bounds; `snapshots` keep it
    engine, steps, scope        macrosteps and microsteps of one `instance`
    outcomes                    what moved, what is to be done
    host                        all machines of a mount: from the bus to runs
Beside them: `system_state`, `thresholds`, `measurements`: Normal, HighLoad … Scaling.
"""
