"""Scripts of users, run where they can do no harm.

`pool` keeps a few worker processes and hands each call to one; `process` is one worker seen from outside, `frames` the
messages between; inside, `worker` puts itself behind the walls of `confinement` and `seccomp` and runs the language
(`lua`, with the part that is written in Lua in `lua_prelude`). A script only computes: what it wants done it asks for,
and the nursery does it. `declaration` turns a Lua file into a workflow. Nothing is imported here: a worker loads only
what it needs.
"""
