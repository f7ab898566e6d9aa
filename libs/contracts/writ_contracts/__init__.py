"""What Writ's parts say to each other: messages, subjects, operations, and the life of an operation.

Depends on msgspec alone and does no I/O: every function here is a plain function over frozen data.
"""
