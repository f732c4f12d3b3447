"""Rules in controlled English: a sentence → a definition → the sentence that the definition says.

`words` cuts a sentence into clauses, `forms` is the table of what a clause may say (templates for hassil), `reading`
finds the one form that a clause has, `meaning` turns what was found into a definition (`effects` into its steps,
`limits` into what bounds it, `times` into recurring times), `saying` turns a definition back into a sentence. `advice`
says of a clause that was not understood what in it was not and what would be, and `desk` keeps what was written to
`/.vexfs/nl` until it is confirmed. Nothing is guessed: what can be read in two ways is refused too.
"""
