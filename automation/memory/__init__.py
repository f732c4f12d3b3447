"""What detection knows, kept over restarts, clean ones and others.

frames ─► event_log, snapshots     the two kinds of files, checksummed
recorder                           what is written to the log, and when
desk                               what those who detect do for it
taking                             snapshots, bit by bit
recovery ─► replaying              reading all that, and repeating the log
memory                             all together, for one mount
"""
