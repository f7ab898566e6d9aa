"""Read the dispatched operation of a delivery."""

from writ_bus.port import Delivery
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.journal import Dispatched, Requested
from writ_contracts.wire import decode
from writ_runtime.logs import Log

_log = Log("writ.agent")


def work_of(delivery: Delivery) -> Dispatched | None:
    """Return the event. One for another pool is dropped with an error in the log, since it would be delivered
    without end.
    """
    message = delivery.message
    named = subjects.parse_event(message.subject)
    try:
        if named is not None and named.event == "requested":
            work = decode(message.data, Requested).first_dispatch
        else:
            work = decode(message.data, Dispatched)
    except Invalid as error:
        _log.error("agent.unreadable_event", subject=message.subject, error=str(error))
        return None
    if work is None:
        _log.error("agent.undispatched_request", subject=message.subject)
        return None
    if named is None or (named.principal, named.operation_id) != (work.principal, work.operation_id):
        _log.error("agent.misplaced_event", subject=message.subject, operation_id=work.operation_id)
        return None
    return work
