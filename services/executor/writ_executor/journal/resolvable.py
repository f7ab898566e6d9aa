"""The operations which ended `unknown` and whose outcome may still become known. Pure.

An agent settles what was dispatched to it, by a receipt or a probe. A cancel is settled by the end of the operation
that it should have stopped. Nothing settles any other control operation.
"""

from writ_contracts.life import AcceptedLife, ControlLife, DispatchedLife, Life, State

CANCEL = "operation_cancel"


def is_unconfirmed_cancel(life: Life) -> bool:
    """Return true for a cancel that ended before anybody knew whether it stopped its operation."""
    return isinstance(life, ControlLife) and life.state is State.UNKNOWN and life.requested.operation == CANCEL


def may_be_resolved(life: AcceptedLife) -> bool:
    """Return whether an operation with the outcome `unknown` may still get another one."""
    return life.state is State.UNKNOWN and (isinstance(life, DispatchedLife) or is_unconfirmed_cancel(life))
