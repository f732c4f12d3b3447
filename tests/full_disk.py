"""A disk that is full when a test says so."""

import sqlite3


class FullDisk:
    """Stands before the connection of a journal's writer: while `full`, it refuses what a full disk refuses."""

    def __init__(self, writer):
        self.full = False
        self._connection = writer._connection
        writer._connection = self

    def execute(self, sql, values=()):
        if self.full and sql.startswith("INSERT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return self._connection.execute(sql, values)

    def close(self):
        self._connection.close()
