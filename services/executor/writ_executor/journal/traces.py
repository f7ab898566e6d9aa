"""In which trace an operation goes on, whoever takes the next step: its own, as its request began it."""

from contextlib import AbstractContextManager

from writ_bus import tracing
from writ_contracts.life import Life


def going_on(life: Life) -> AbstractContextManager[tracing.Trace]:
    """Work within the operation's trace. Not every step comes out of it: a sweep, the end of another operation, and an
    agent that was restarted come from elsewhere.
    """
    about = life.requested or life.refused
    if about is None:
        return tracing.within(tracing.current() or tracing.root())
    return tracing.within(tracing.continued(about.traceparent, about.correlation_id))
