"""The automation domain: events in, effects out. Knows nothing of FUSE."""
