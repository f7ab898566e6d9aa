"""The engine: from the text of a policy to a decision. Plain functions over frozen data: no I/O, no clock, no logging.

`format` says what a file may hold, `lint` what is wrong with it, `compile` makes it fast, `decide` decides.
"""
