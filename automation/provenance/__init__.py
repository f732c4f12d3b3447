"""Who made what from what: a graph of files and their versions, processes, users and runs, built from events.

    event ─► tracker ─► facts ─► store (SQLite) ─► queries ─► JSON, DOT, PROV-JSON
                          └───► labels ─► graph.property.set

forms     a definition of kind `provenance`       tracker   pure: events in, facts out, bounded memory
store     the facts, on disk, bounded             desk      the bus, the thread that writes, the graph's events
rendering answers for people and programs           The names of the edges are those of W3C PROV.
"""
