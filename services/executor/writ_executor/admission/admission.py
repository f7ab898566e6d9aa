"""Admission of requests: the rate of a principal, the quotas of principals and pools, and free space in the journal.

The last part of the journal is reserved for the ends of begun operations, for cancels and for control operations.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from writ_contracts import subjects
from writ_contracts.catalogue.sessions import SESSION_OPEN
from writ_contracts.errors import Full, TimedOut, WritError
from writ_contracts.journal import Refused, RefusedSummary, Requested
from writ_contracts.operations import Operation, Risk
from writ_executor.admission.quotas import ONE_MORE, QuotaExceeded, Quotas
from writ_executor.admission.refusal_counts import RefusalCount, RefusalCounts
from writ_executor.config import ExecutorConfig
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.usage import Amount, Owner
from writ_executor.metrics import ExecutorMeasures
from writ_runtime.buckets import Buckets
from writ_runtime.journal.watched_bus import WatchedBus
from writ_runtime.logs import Log

OPEN_BYTES = 12_288
"""Average upper bound of the bytes that an open operation still writes: `granted` and `finished`."""
_log = Log("writ.executor")


class Admission:
    """Refuses with Full, before anything is decided or recorded."""

    def __init__(
        self, config: ExecutorConfig, bus: WatchedBus, index: Index, recorder: Recorder, measures: ExecutorMeasures
    ) -> None:
        self._config = config
        self._bus = bus
        self._index = index
        self._recorder = recorder
        self._measures = measures
        self._requests = Buckets(config.rate, config.burst)
        self._sessions = Buckets(config.session_rate, config.session_burst)
        self._refusals = Buckets(config.refusal_rate, config.refusal_burst)
        self._refusal_counts = RefusalCounts()
        self.quotas = Quotas(config, index.usages)
        self._each = 0.0
        """Share of the journal that one open operation will still need."""
        self.fill = 0.0
        """Used share of the journal."""

    def rate(self, principal: str) -> None:
        """Count a message of this principal. Raises Full (`rate_limited`)."""
        if not self._requests.take(principal, time.monotonic()):
            self.count_refusal(principal, "rate_limited")
            raise Full(
                f"{principal} sends more than {self._config.rate:g} requests a second: wait, then go on",
                code="rate_limited",
            )

    def session_rate(self, principal: str, operation: str) -> None:
        """Count a new session of this principal. Raises Full (`rate_limited`).

        NATS is reloaded for each session and for its end. A reload loses replies of others, which they get by a second
        request after 5 s: with three reloads a second an operation took 280 ms instead of 11.
        """
        if operation == SESSION_OPEN and not self._sessions.take(principal, time.monotonic()):
            self.count_refusal(principal, "rate_limited")
            raise Full(
                f"{principal} opens more than {self._config.session_burst} sessions at once, and more than one in "
                f"{1 / self._config.session_rate:g} s: wait, then go on (WRIT_SESSION_RATE)",
                code="rate_limited",
            )

    def room(self, principal: str, operation: Operation) -> None:
        """Check the room for one more operation. Raises Full (`full`, `too_many_open`). Control operations pass as long
        as their principal has not written too many.
        """
        if not operation.control and (full := self.full()):
            self.count_refusal(principal, "full")
            raise Full(full)
        try:
            if operation.control:
                self.quotas.check_control(operation.name, principal, self._expected_fill())
            else:
                self.quotas.check("principal", principal, ONE_MORE)
        except QuotaExceeded as error:
            self._count_exceeded(principal, error)
            raise

    def storage(self, operation: Operation, *, output_apart: bool) -> None:
        """Check that what the operation needs later can be stored. Raises Unreachable (`not_stored`). `output_apart`:
        its output is not kept in the journal alone. A read is of no use without it; a change is not held up.
        """
        self._bus.require(subjects.JOURNAL_STREAM)
        if output_apart and operation.risk is Risk.READ:
            self._bus.require(subjects.RESULTS_STREAM)

    def _expected_fill(self) -> float:
        """Return the share of the journal that is used once all open operations have ended."""
        return self.fill + self._index.count() * self._each

    def full(self) -> str | None:
        """Return the reason why no operation may begin, or None. The rest of the journal is reserved for begun
        operations.
        """
        if self._expected_fill() < self._config.full_at:
            return None
        return f"the journal is {self.fill:.0%} full: new operations are refused until `writ journal archive`"

    @contextmanager
    def reserve(self, requested: Requested, *, control: bool) -> Iterator[None]:
        """Take room for this operation while it is recorded: of its principal, and of its pool. Of control operations
        only hidden parameters count. Raises Full (`full`, `too_many_open`).
        """
        owners: dict[Owner, str] = {"principal": requested.principal}
        more: dict[Amount, float] = {"hidden_bytes": requested.hidden_bytes}
        if not control:
            owners["pool"] = requested.pool
            more |= ONE_MORE
        try:
            with self.quotas.reserve(owners, more):
                yield
        except QuotaExceeded as error:
            self._count_exceeded(requested.principal, error)
            raise

    @contextmanager
    def reserve_bytes(self, principal: str, hidden_bytes: int) -> Iterator[None]:
        """Take room for hidden parameters that are stored before the decision. Raises Full; nothing is counted."""
        with self.quotas.reserve({"principal": principal}, {"hidden_bytes": hidden_bytes}):
            yield

    def _count_exceeded(self, principal: str, error: QuotaExceeded) -> None:
        self.count_refusal(principal, error.code)
        self._measures.quota_exceeded(error.quota.owner, error.quota.amount)

    def records(self, event: Refused) -> bool:
        """Return whether this refusal gets an event of its own; otherwise it is counted. A nearly full journal has
        no room for such events, nor has the share of a principal that is used up.
        """
        room = self.fill < self._config.full_at and self.quotas.has_share(event.principal)
        if room and self._refusals.take(event.principal, time.monotonic()):
            return True
        self.count_refusal(event.principal, event.code)
        self._measures.unrecorded(event.outcome)
        return False

    def count_refusal(self, principal: str, code: str) -> None:
        """Count a refusal without an event."""
        self._refusal_counts.add(principal, code, self._recorder.clock())
        self._measures.count_refusal(code)

    async def measure_fill(self) -> None:
        """Read the fill level of the journal."""
        usage = await self._bus.journal.usage()
        if usage.max_bytes > 0:
            self.fill, self._each = usage.bytes / usage.max_bytes, OPEN_BYTES / usage.max_bytes
            self.quotas.fill, self.quotas.journal_bytes = self.fill, usage.max_bytes

    async def summarise(self, after: float = 60.0) -> None:
        """Record the counted refusals, once a minute and principal. A flood is also a security event."""
        for principal, refused in self._refusal_counts.due(self._recorder.clock(), after).items():
            try:
                await self._summarise(principal, refused)
            except WritError as error:
                _log.warning(
                    "refusals.not_summarised", principal=principal, count=sum(refused.codes.values()), error=str(error)
                )

    async def _summarise(self, principal: str, refused: RefusalCount) -> None:
        count = sum(refused.codes.values())
        event = RefusedSummary(
            **self._recorder.stamp(), principal=principal, count=count, since=refused.since, codes=refused.codes
        )
        try:
            await self._recorder.append_last(subjects.refused_summary(principal), event)
        except TimedOut:  # it may be stored
            raise
        except WritError:
            self._refusal_counts.put_back(principal, refused)
            raise
        if refused.codes.get("rate_limited"):
            detail = f"{count} requests of {principal} in a minute were refused without a record"
            await self._recorder.security("flood", detail, principal=principal)
