"""`Writ`: request operations and follow them, from Python.

    async with await Writ.connect("nats://127.0.0.1:4222", seed=seed, principal="alice", installation=ID) as writ:
        done = await writ.run("service_restart", "web-1", {"service_name": "nginx"}, reason="new certificate")

Each request has an idempotency key, so a request that was lost on the way is sent again and still happens once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from writ_bus.port import Bus
from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus, read_context
from writ_client.groups.groups import OperationGroups
from writ_client.operations import request_signing
from writ_client.operations.approval_windows import ApprovalWindows
from writ_client.operations.control_operations import ControlMethods
from writ_client.operations.operation_events import Event, EventFollower
from writ_client.operations.operation_wait import HistoryReader, OnEvent, RecordedRequest, StillOpen, last_view, outcome
from writ_client.operations.principal_changes import PrincipalChanges
from writ_client.operations.sessions import Sessions
from writ_client.operations.submission import send_request
from writ_client.operations.submit_options import SubmitOptions
from writ_client.operations.target_runs import ManyTargets, RunRecap, TargetResult, each_request
from writ_client.operations.time_left import (
    PROOF,
    SUBMIT_SECONDS,
    NotRequested,
    TimeLeft,
    before_the_request,
    time_left,
)
from writ_client.people.approvals import Approvals, Signer
from writ_client.queries.operation_queries import Queries
from writ_client.queries.policy_queries import PolicyQueries
from writ_client.queries.service_calls import request_reply
from writ_contracts import requests, subjects
from writ_contracts.errors import TimedOut
from writ_contracts.failures import raise_for
from writ_contracts.ids import operation_id as id_of
from writ_contracts.life import State
from writ_contracts.policy.facts import ScanReply, ScanReport
from writ_trust.keys import Key

CLOSE_SECONDS = 1.0


class Writ(Queries, ControlMethods, OperationGroups):
    """One principal's connection to Writ. Errors are those of `writ_contracts.errors`."""

    def __init__(
        self,
        bus: Bus,
        key: Key | None,
        principal: str,
        *,
        policy_keys: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use a bus connected as the principal. Without a key nothing is signed. `policy_keys` verify approvals."""
        super().__init__(bus, principal)
        self._key = key
        self._clock = clock
        self._following = EventFollower(bus, principal)
        self.policy = PolicyQueries(bus, principal)
        self.approvals = Approvals(bus, key, principal, clock, policy_keys=policy_keys)
        self.principals = PrincipalChanges(self)
        self.windows = ApprovalWindows(self)
        self.sessions = Sessions(self, bus, principal)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        seed: bytes,
        principal: str,
        installation: str = "",
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        wait: float = 5.0,
    ) -> Self:
        """Connect as this principal, with its nkey seed. `installation`: its id, without which no signed request is
        accepted. Raises Unreachable, and Forbidden for an unknown key.
        """
        context = Context(
            principal=principal, url=url, installation=installation, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key
        )
        return await cls.within(context, seed, wait=wait)

    @classmethod
    async def from_context(cls, path: str | Path, *, wait: float = 5.0) -> Self:
        """Connect with a file written by `writ context PRINCIPAL -o json`. Raises ConfigError for an unusable one."""
        context = read_context(Path(path))
        return await cls.within(context, read_private(Path(context.key_file)), wait=wait)

    @classmethod
    async def within(cls, context: Context, seed: bytes, *, wait: float = 5.0) -> Self:
        """Connect with this context."""
        key = Key(seed, context.installation)
        bus = await open_bus(context, seed, wait=wait)
        return cls(bus, key, context.principal, policy_keys=context.policy_keys)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._following.close()
        await self._bus.drain(CLOSE_SECONDS)

    async def report(self, report: ScanReport) -> str:
        """Send a scanner's report of a target; return the digest by which decisions name it. Raises Conflict where a
        later report is stored, and Forbidden where this principal is no scanner.
        """
        subject = subjects.scan(self.principal)
        answer = await request_reply(self._bus, subject, report, ScanReply, timeout=SUBMIT_SECONDS, effect=True)
        raise_for(answer)
        return answer.digest or ""

    async def submit(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        dry_run: bool = False,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
        sign: bool = True,
        by: Signer | None = None,
        proof: request_signing.RequestProof | None = None,
        client: requests.ClientInfo | None = None,
        timeout: float | TimeLeft | None = None,
    ) -> requests.RequestReply:
        """Send a request, and return once the decision is recorded; a denial or an invalid request is a reply as well.
        `by` proves presence, where policy demands it; `proof` keeps that for a repetition; `client` names the program.

        `timeout`, in seconds, is for the proof and the reply together. Without it a reply may take 30 s, and within the
        rest of a longer call no more than these.

        Raises for requests without a record: Invalid, Untrusted, Conflict (the key was used for another request), Full,
        Unreachable, Forbidden (the server refuses the key), Denied (in a flood, whose refusals are only counted), and
        TimedOut, after which the same key finds out the result.
        """
        request = request_signing.unsigned(
            target,
            parameters or {},
            idempotency_key=request_signing.new_key() if idempotency_key is None else idempotency_key,
            reason=reason,
            dry_run=dry_run,
            correlation_id=correlation_id,
            client=client,
        )
        within = time_left(timeout)
        if sign and self._key is not None:
            proof = proof or request_signing.RequestProof()
            async with before_the_request(within, PROOF):
                request = await proof.of(request, self._key, self.principal, operation, by, self._clock())
        left = within.for_submission if isinstance(timeout, TimeLeft) else within.left
        answer = await send_request(self._bus, self.principal, operation, request, left)
        if answer.outcome is None or answer.operation_id is None:
            raise_for(answer)
        return answer

    async def run(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        on_event: OnEvent = lambda _: None,
        **options: Unpack[SubmitOptions],
    ) -> requests.OperationView:
        """`submit` with these options, then `wait`; `on_event` gets the events on the way.

        `timeout` is for both together, in seconds; the request is repeated for at most 30 of them. Raises as both.
        StillOpen has the recorded operation; another TimedOut says that nothing was requested, or names the operation
        whose request may be on record.
        """
        within = TimeLeft(timeout)
        key = request_signing.new_key() if idempotency_key is None else idempotency_key
        number = id_of(self.principal, key)
        async with before_the_request(within):
            await self._following.start()
        with self._following.listen(number) as heard:
            try:
                answer = await self.submit(
                    operation, target, parameters, idempotency_key=key, timeout=within, **options
                )
            except NotRequested:
                raise
            except TimedOut as error:
                raise TimedOut(f"{error}; the request was sent, and may be on record as {number}") from error
            number, undecided = answer.operation_id or number, answer.outcome is None
            return await outcome(
                self, number, heard, within=within, on_event=on_event, undecided=undecided, accepted=True
            )

    async def run_on(
        self,
        operation: str,
        targets: Sequence[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        serial: int | None = None,
        max_failures: int | None = None,
        timeout: float | None = None,
        on_result: Callable[[TargetResult], None] = lambda _: None,
        **options: Unpack[SubmitOptions],
    ) -> RunRecap:
        """`run` on each of these targets, `serial` at a time (None: all at once), under one correlation id.

        Failures are in the recap. None is begun after `max_failures`, or with `serial` while one outlasts `timeout`.
        """
        each = each_request(operation, parameters, timeout=timeout, **options)
        many = ManyTargets(self, each, targets, serial=serial, max_failures=max_failures, on_result=on_result)
        return await many.run()

    async def request(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        wait: float,
        idempotency_key: str | None = None,
        on_event: OnEvent = lambda _: None,
        **options: Unpack[SubmitOptions],
    ) -> RecordedRequest:
        """`submit`, then wait at most `wait` seconds for the outcome, and not at all for people who must approve first.

        Raises as `submit`. A running operation is no error: the reply has its state.
        """
        key = request_signing.new_key() if idempotency_key is None else idempotency_key
        async with before_the_request(TimeLeft(SUBMIT_SECONDS)):
            await self._following.start()
        with self._following.listen(id_of(self.principal, key)) as heard:
            answer = await self.submit(operation, target, parameters, idempotency_key=key, **options)
            operation_id = answer.operation_id or id_of(self.principal, key)
            if wait <= 0 or answer.state == State.AWAITING_APPROVAL:
                return RecordedRequest(operation_id, answer)
            undecided = answer.outcome is None
            waiting = outcome(
                self, operation_id, heard, within=TimeLeft(wait), on_event=on_event, undecided=undecided, accepted=True
            )
            try:
                return RecordedRequest(operation_id, answer, await waiting)
            except TimedOut as error:
                return RecordedRequest(operation_id, answer, last_view(error))

    async def wait(
        self, operation_id: str, *, timeout: float | TimeLeft | None = None, on_event: OnEvent = lambda _: None
    ) -> requests.OperationView:
        """Return the operation once it has an outcome, `unknown` included. Raises TimedOut after `timeout` seconds."""
        within = time_left(timeout)
        try:
            async with asyncio.timeout(within.left):
                await self._following.start()
        except TimeoutError:
            text = f"operation {operation_id} has no outcome that was seen after {within.text}"
            raise StillOpen(text, operation_id) from None
        with self._following.listen(operation_id) as heard:
            return await outcome(self, operation_id, heard, within=within, on_event=on_event)

    async def events(self, operation_id: str) -> AsyncIterator[Event]:
        """Yield past and coming events of the operation, in order and to its outcome; progress in between as it comes.

        Missed events are read from the audit service. Raises Invalid (`not_found`).
        """
        await self._following.start()
        with self._following.listen(operation_id) as heard:
            async for event in HistoryReader(self, operation_id, heard).events():
                yield event
