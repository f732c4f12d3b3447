"""Complex event processing: patterns over the stream of events, found by plain synchronous code.

In the order in which a pattern is read:
    scanner, text, conditions   the compact form and its conditions → model and trees (`rendering` is the way back)
    model                       the same in YAML and JSON, validated
    loading                     definition files → models → detectors
    fields, closures            conditions → Python closures over events and partial matches (`runs`); CEL for the rest
    elements, assembly          model → parts with tests
    automaton, compiler         parts → states and moves
In the order in which an event travels:
    routing, interests          which of many patterns it may concern
    detector                    one pattern: its stream, partitions, time (`ordering`) and bounds
    matcher, skipping           one partition: partial matches, and what a match rules out
    snapshots                   partial matches as JSON values, to survive a restart
    outcomes                    matches, timeouts, late events, what was dropped
    correlation                 beside all that: two streams whose values move together
"""
