"""One operation on many targets: for each an own request, decision and record, tied together by one correlation id.

`writ.run` acts for each of them over one connection. A failed target does not stop the others, before there are more
than `max_failures`.
"""

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field, structs

from writ_client.operations import request_signing
from writ_client.operations.operation_wait import OnEvent
from writ_client.operations.runs_operations import RunsOperations
from writ_client.operations.time_left import NotRequested, TimeLeft
from writ_client.people.approvals import Signer
from writ_client.refused_arguments import distinct, refuse_below_one
from writ_contracts import errors
from writ_contracts.ids import operation_id
from writ_contracts.requests import OperationView, RequestReply

AT_ONCE = 64
"""Operations of one run that are open at once: a principal has a bounded number, and may have other runs."""
BUSY_SECONDS, MOST_BUSY = 1.0, 120
"""A run of thousands sends requests faster than a principal may: it waits and goes on."""
BUSY = frozenset({"rate_limited", "too_many_open"})
"""The second one also where the run's own operations have parameters of many bytes: their ends make room."""
OK = frozenset({"succeeded", "previewed"})
SKIPPED, PENDING, ERROR = "skipped", "pending", "error"


class TargetResult(Struct, frozen=True, kw_only=True):
    """The result of one target: `outcome` is its operation's, or `pending` (it goes on), `skipped` (not started),
    `error` (it left no record). `output` is the whole one while that is kept, else that of the record.
    """

    target: str
    outcome: str
    operation_id: str = ""
    code: str = ""
    message: str = ""
    seconds: float = 0.0
    output: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return true if the operation succeeded."""
        return self.outcome in OK


class RunRecap(Struct, frozen=True, kw_only=True):
    """All targets of a run, in the order in which they were named."""

    correlation_id: str
    results: list[TargetResult]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of targets by outcome."""
        return dict(Counter(one.outcome for one in self.results).most_common())


class EachRequest(Struct, frozen=True, kw_only=True):
    """The operation, the same for all targets. `timeout`: seconds for each, from its request to its outcome; `wait`:
    for outcomes at all. `by` proves one's presence once for each target.
    """

    operation: str
    parameters: Mapping[str, Any] = {}
    reason: str = ""
    dry_run: bool = False
    sign: bool = True
    correlation_id: str
    key: str
    timeout: float | None = None
    wait: bool = True
    by: Signer | None = None


class AwaitedOperations:
    """The operations of a run that have not ended yet. Each end makes room for one more request."""

    def __init__(self) -> None:
        self._count = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def begin(self) -> None:
        """Count one more."""
        self._count += 1

    def end(self) -> None:
        """Count one less."""
        self._count -= 1

    def wake(self) -> None:
        """Wake the first that waits for room: a target has its result, so there may be some."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def room(self) -> bool:
        """Wait until another target has its result; return False at once if none of them is open."""
        if not self._count:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
        return True


class ManyTargets:
    """A run over many targets. `recap` returns its state at any time, also after it was cancelled."""

    def __init__(
        self,
        writ: RunsOperations,
        each: EachRequest,
        targets: Sequence[str],
        *,
        serial: int | None = None,
        max_failures: int | None = None,
        on_result: Callable[[TargetResult], None] = lambda _: None,
        on_accepted: Callable[[str, RequestReply], None] = lambda _target, _answer: None,
        on_event: OnEvent = lambda _: None,
        outputs: bool = True,
        keeps_outputs: bool = True,
    ) -> None:
        """`serial`: so many targets at a time, the next ones when all of these have ended; none if one of them goes on
        after its timeout. `max_failures`: once so many have failed, no other target is begun. `on_accepted`: called
        with a target's reply, if its outcome is awaited. `outputs`: ask for the whole ones, within the timeout.
        `keeps_outputs`: also in `recap`, not for `on_result` alone.

        Raises Invalid for numbers below 1, and for a text in place of a list of targets.
        """
        self._writ = writ
        self._each = each
        refuse_below_one(serial=serial, max_failures=max_failures)
        self._targets = distinct(targets)
        self._serial = serial or len(self._targets)
        self._most = max_failures
        self._on_result = on_result
        self._on_accepted = on_accepted
        self._on_event = on_event
        self._outputs = outputs
        self._keeps_outputs = keeps_outputs
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._awaited = AwaitedOperations()
        self._begun: set[str] = set()
        self._results: dict[str, TargetResult] = {}
        self._failures = 0
        self._goes_on: str | None = None
        """A target whose operation may go on, although the run waits for it no longer."""

    async def run(self) -> RunRecap:
        for batch in _batches(self._targets, self._serial):
            if self._goes_on is not None:
                break
            async with asyncio.TaskGroup() as group:
                for target in batch:
                    group.create_task(self._one(target))
        return self.recap

    @property
    def recap(self) -> RunRecap:
        """Every target: ended, pending, or skipped."""
        results = [self._results.get(target) or self._open(target) for target in self._targets]
        return RunRecap(correlation_id=self._each.correlation_id, results=results)

    def _open(self, target: str) -> TargetResult:
        if target not in self._begun:
            after = "" if self._goes_on is None else f": {self._goes_on} may go on"
            return TargetResult(target=target, outcome=SKIPPED, message=f"it was not started{after}")
        return TargetResult(target=target, outcome=PENDING, operation_id=self._id(target), message="it goes on")

    async def _one(self, target: str) -> None:
        async with self._slots:
            result = await self._outcome(target, time.monotonic())
            self._awaited.wake()
            if result is not None:
                self._add(result)

    def _add(self, result: TargetResult) -> None:
        self._results[result.target] = result if self._keeps_outputs else structs.replace(result, output={})
        self._failures += not result.ok and result.outcome != PENDING
        self._on_result(result)

    @property
    def _stopped(self) -> bool:
        return self._most is not None and self._failures >= self._most

    async def _outcome(self, target: str, began: float) -> TargetResult | None:
        """Return the result; None for a target that was not begun."""
        try:
            answer, within = await self._submitted(target)
        except NotRequested as error:
            return self._failed(target, ERROR, error)
        except errors.TimedOut as error:  # it may have been taken
            return self._failed(target, "unknown", error)
        except errors.WritError as error:
            return self._failed(target, ERROR, error)
        if answer is None:
            return None
        if not self._each.wait and answer.outcome is None:
            return _requested(target, answer)
        self._on_accepted(target, answer)
        self._awaited.begin()
        try:
            number = answer.operation_id or self._id(target)
            view = await self._writ.wait(number, timeout=within, on_event=self._on_event)
        except errors.WritError as error:
            return self._failed(target, PENDING, error)
        finally:
            self._awaited.end()
        result = _ended(view, time.monotonic() - began)
        return await self._with_output(result, view, within) if self._outputs else result

    async def _with_output(self, result: TargetResult, view: OperationView, within: TimeLeft) -> TargetResult:
        """Return the result with the whole output, or with that of the record if there is no reply in time."""
        try:
            async with asyncio.timeout(within.left):
                return structs.replace(result, output=(await self._writ.with_output(view)).output)
        except TimeoutError:
            return result
        except asyncio.CancelledError:
            self._add(result)  # the run is cancelled; this operation has ended
            raise

    async def _submitted(self, target: str) -> tuple[RequestReply | None, TimeLeft]:
        """Return the reply, None if too many failed before a request was accepted, and the time left for its outcome:
        a wait for room does not count.
        """
        each, busy, proof = self._each, 0, request_signing.RequestProof()
        while not self._stopped:
            self._begun.add(target)
            within = TimeLeft(each.timeout)
            try:
                answer = await self._writ.submit(
                    each.operation,
                    target,
                    each.parameters,
                    reason=each.reason,
                    dry_run=each.dry_run,
                    idempotency_key=key_of(each.key, target),
                    correlation_id=each.correlation_id,
                    sign=each.sign,
                    by=each.by,
                    proof=proof,
                    timeout=within,
                )
                return answer, within
            except errors.Full as error:
                if error.code not in BUSY or busy >= MOST_BUSY:
                    raise
                refused = error.code
            self._begun.discard(target)  # a run that is cancelled now has left nothing of it
            if refused == "rate_limited" or not await self._awaited.room():
                busy += 1
                await asyncio.sleep(BUSY_SECONDS)
        return None, TimeLeft(None)

    def _failed(self, target: str, outcome: str, error: errors.WritError) -> TargetResult:
        number = "" if outcome == ERROR else self._id(target)
        if number:
            self._goes_on = target
        return TargetResult(target=target, outcome=outcome, operation_id=number, code=error.code, message=str(error))

    def _id(self, target: str) -> str:
        return operation_id(self._writ.principal, key_of(self._each.key, target))


def each_request(operation: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> EachRequest:
    """Return a request for each target, with a key and a correlation id of its own, where none is given."""
    key = options.pop("key", None) or request_signing.new_key()
    correlation_id = options.pop("correlation_id", None) or f"run-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    return EachRequest(
        operation=operation, parameters=parameters or {}, key=key, correlation_id=correlation_id, **options
    )


def key_of(key: str, target: str) -> str:
    """Return the idempotency key of one target's request: the same run again is the same operations."""
    return hashlib.sha256(f"{key}\0{target}".encode()).hexdigest()[:32]


def _batches(targets: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(targets), max(size, 1)):
        yield targets[at : at + size]


def _requested(target: str, answer: RequestReply) -> TargetResult:
    return TargetResult(target=target, outcome=PENDING, operation_id=answer.operation_id or "", message=answer.state)


def _ended(view: OperationView, seconds: float) -> TargetResult:
    return TargetResult(
        target=view.target,
        outcome=view.outcome or PENDING,
        operation_id=view.operation_id,
        code=view.code,
        message=view.message,
        seconds=round(seconds, 3),
        output=view.output,
    )
