"""The trace of an operation: every later step joins the one begun by its request."""

from contextlib import AbstractContextManager

from writ_bus import tracing
from writ_contracts.journal import Archived
from writ_contracts.life import Life


def going_on(life: Life) -> AbstractContextManager[tracing.TraceContext]:
    """Work within the operation's trace. Some steps begin elsewhere: a sweep, the end of another operation, a
    restarted agent.
    """
    about = life.what
    if about is None or isinstance(about, Archived):
        return tracing.within(tracing.current() or tracing.root())
    return tracing.within(tracing.continued(about.traceparent, about.correlation_id))
