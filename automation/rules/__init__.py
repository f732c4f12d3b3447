"""Declarative rules: event and conditions → actions.

In the order in which a definition is read:
    forms, windows, conditions   what a person writes, validated
    vocabulary                   named lists and macros, shared between files
    book                         a definition file with `rules:`, `guards:`, `lists:`, `macros:`, `system:`
    rule                         one rule as it is kept: small, what it tests compiled when an event first asks
In the order in which an event travels:
    (automation.index)           type, path, extension, equalities and bounds → the few rules that could care
    fields, checks, paths        conditions → Python closures over events; CEL for the rest
    rule_set                     the detector: `feed(event, now) → firings`, cooldowns, rates, failures
    desk                         from the bus to the launcher of runs
"""
