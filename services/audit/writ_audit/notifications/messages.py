"""Convert events of the journal to notifications. The functions are pure."""

from collections.abc import Mapping
from urllib.parse import quote

from writ_contracts import journal
from writ_contracts.errors import Invalid
from writ_contracts.history.records import Record
from writ_contracts.notifications import Kind, Notification
from writ_contracts.subjects import parse_event
from writ_contracts.wire import decode_event

OF_CONTROL: Mapping[str, Kind] = {
    **dict.fromkeys(("stop_set", "stop_lift"), "stop"),
    **dict.fromkeys(("emergency_declare", "emergency_confirm", "emergency_closed", "emergency_review"), "emergency"),
    **dict.fromkeys(("window_request", "window_end"), "window"),
    **dict.fromkeys(("policy_publish", "policy_rollback", "policy_file"), "policy"),
    "principal_manage": "principal",
}
OF_OPERATIONS = frozenset({"awaiting_approval", "approved", "rejected", "finished"})
OF_SECURITY = "writ.journal.security."
LONGEST = 500


def notification_of(record: Record, link: str = "") -> Notification | None:
    """Return the notification for an event, or None if its kind has none."""
    if not _is_of_interest(record.subject):
        return None
    try:
        event = decode_event(record.data)
    except Invalid:
        return None
    description = _described(event, record)
    if description is None:
        return None
    kind, title, text, operation_id, principal = description
    return Notification(
        id=event.id,
        kind=kind,
        at=event.at,
        title=title[:LONGEST],
        text=text[:LONGEST],
        sequence=record.sequence,
        operation_id=operation_id,
        principal=principal,
        link=link.replace("{operation_id}", quote(operation_id, safe="")) if link and operation_id else "",
    )


def pool_of(record: Record) -> str:
    """Return the pool of a security event; "" without one, and for other events."""
    if not record.subject.startswith(OF_SECURITY):
        return ""
    event = decode_event(record.data)
    return (event.pool or "") if isinstance(event, journal.SecurityEvent) else ""


def _is_of_interest(subject: str) -> bool:
    """Return true if the event has to be decoded. Most events belong to operations without approvals and do not."""
    where = parse_event(subject)
    if where is not None:
        return where.event in OF_OPERATIONS
    return subject.startswith(("writ.journal.control.", OF_SECURITY))


Described = tuple[Kind, str, str, str, str]


def _described(event: journal.JournalEvent | journal.Carried, record: Record) -> Described | None:
    where = parse_event(record.subject)
    who, operation = (where.principal, where.operation_id) if where else ("", "")
    match event:
        case journal.AwaitingApproval():
            title = f"{event.principal} requests {event.operation} on {event.target}"
            return "pending", title, f"it waits for approval: writ approvals show {operation}", operation, who
        case journal.Approved():
            return "decided", f"approved by {event.approver}", f"writ trace {operation}", operation, who
        case journal.Rejected():
            return "decided", f"rejected by {event.approver}", event.reason or f"writ trace {operation}", operation, who
        case journal.Finished(code="not_approved"):
            return "expired", "nobody approved it in time", f"writ trace {operation}", operation, who
        case journal.SecurityEvent():
            return "security", f"security: {event.kind}", event.detail, event.operation_id or "", event.principal or ""
        case journal.ControlEvent() if event.kind in OF_CONTROL and "Writ-Carried-From" not in record.headers:
            title = f"{event.kind} by {event.principal}" if event.principal else event.kind
            text = str(event.body.get("reason") or event.body.get("how") or "")
            return OF_CONTROL[event.kind], title, text, event.operation_id or "", event.principal or ""
        case _:
            return None
