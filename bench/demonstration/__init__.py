"""`make demo`: the eight scenarios of the seed on a real mount, each with real effects, checked as it goes.

stage        a mount of its own, and what is done in it
scenarios    one function each, which returns a sentence of what was seen
definitions  what reacts
"""
