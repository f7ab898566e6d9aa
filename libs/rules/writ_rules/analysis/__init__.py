"""Static analysis of policies: mistakes, differences between two policies, and access lists. Pure functions over frozen
data, like the engine they call.

`lint` finds mistakes, `diff` compares, `access` lists, `mutants` changes one thing at a time.
"""
