"""The contracts between Writ's parts: messages, subjects, operations, and the life of an operation.

Depends on msgspec alone and does no I/O: every function here is a plain function over frozen data.
"""
