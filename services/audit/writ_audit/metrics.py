"""Metrics of the audit service: indexed events, the lag of the index, and its reads."""

from collections.abc import Callable
from typing import get_args

from writ_audit.projection import UNREADABLE
from writ_contracts.agents import SecurityKind
from writ_contracts.journal import JournalEvent
from writ_runtime.journal.journal_notices import dropped_notices
from writ_runtime.journal.security_events import security_counter
from writ_runtime.metric_series import AtMost, Counter
from writ_runtime.metrics import Metrics

READS = ("current", "behind")
REFUSALS = ("permission_violation", "authentication_failed")
DELIVERIES = ("sent", "failed", "dropped")


def metrics() -> Metrics:
    """Return the metrics of this service and its endpoints."""
    return Metrics(endpoints=("trace", "search"))


def notification_counter(measured: Metrics) -> Counter:
    return measured.counter(
        "writ_notifications_total",
        "Notifications by destination: sent, failed attempts, dropped after an hour or in a flood.",
        {"destination": AtMost(8), "result": DELIVERIES},
    )


def event_kinds() -> tuple[str, ...]:
    """Return every kind of event that the metrics distinguish."""
    return (*sorted(str(kind.__struct_config__.tag) for kind in get_args(JournalEvent)), UNREADABLE)


class AuditMeasures:
    """The metrics of the audit service. `lag` and `position` are called at each scrape."""

    def __init__(self, measured: Metrics, lag: Callable[[], float], position: Callable[[], float]) -> None:
        self._events = measured.counter("writ_audit_events_total", "Events indexed, by kind.", {"kind": event_kinds()})
        self._bytes = measured.counter("writ_audit_bytes_total", "Bytes of the events indexed.")
        self._reads = measured.counter(
            "writ_audit_index_reads_total",
            "Queries of the index, by whether it was current or still behind the journal at the reply.",
            {"result": READS},
        )
        self._security = security_counter(measured)
        self.notice_dropped = dropped_notices(measured)
        self._refusals = measured.counter(
            "writ_audit_nats_refusals_total",
            "Refusals in the log of NATS by kind. Of many by one sender, few become security events of their own.",
            {"kind": REFUSALS},
        )
        self._second = measured.counter(
            "writ_audit_second_decisions_total",
            "Recorded decisions made a second time: same, differs (a security event), or open (facts are missing)."
            " After a rebuild of the index, people's verdicts are checked and counted again.",
            {"result": ("same", "differs", "open")},
        )
        measured.measure("writ_audit_lag_events", "Events of the journal not indexed yet.", lag)
        measured.measure("writ_audit_position", "Last sequence indexed.", position)

    def indexed(self, kind: str, size: int) -> None:
        """Count an event of the journal."""
        self._events.add(kind=kind)
        self._bytes.add(size)

    def read(self, *, current: bool) -> None:
        """Count a query, by whether the index caught up in time."""
        self._reads.add(result="current" if current else "behind")

    def decided_again(self, result: str) -> None:
        """Count a decision that was made a second time, by its result."""
        self._second.add(result=result)

    def alarmed(self, kind: SecurityKind) -> None:
        """Count a security event that audit raised."""
        self._security.add(kind=kind)

    def refused(self, kind: SecurityKind) -> None:
        """Count a refusal of NATS."""
        self._refusals.add(kind=kind)
