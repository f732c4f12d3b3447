"""What must be remembered: runs, so that they survive everything, and the audit trail.

runner ─► ledger ─┐                           ┌─► head (a file beside the database)
bus ─► auditor ─► chain ─► writer (one thread, group commit) ─► database (SQLite, WAL)
                                              readers, each with a connection of its own ◄─┘
"""
