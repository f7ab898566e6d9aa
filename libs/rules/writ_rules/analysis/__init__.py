"""Analysis of policies by trying requests: differences between two policies, access lists, lockouts. Pure functions
over frozen data, like the engine they call.

`diff` compares, `access` lists. The policy service runs them in a process of their own, so it loads none of them at its
start.
"""
