"""The engine: from the text of a policy to a decision.

Plain functions over frozen data: no I/O, no clock, no logging. `format` defines the file, `lint` finds its mistakes,
`compile` indexes it, `decide` makes decisions.
"""
