"""What can be said of policies without a request: what is wrong with one, what two of them decide differently, who may
do what. Pure functions over frozen data, as the engine that they ask.

`lint` finds mistakes, `diff` compares, `access` lists, `mutants` changes one thing at a time.
"""
