"""Static analysis of policies: mistakes, differences between two policies, and access lists.

Pure functions over frozen data, like the engine that they call. `lint` finds mistakes, `diff` compares two policies,
`access` lists permissions, and `mutants` makes variants with one change each.
"""
