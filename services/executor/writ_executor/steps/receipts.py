"""Receipts and security reports of agents: verified, stored, and only then acknowledged."""

from typing import Any, Literal

from msgspec import Raw, Struct, structs

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import (
    LARGEST_REPORT,
    Acknowledgement,
    Receipt,
    ReportMessage,
    SecurityReport,
    TextSizes,
)
from writ_contracts.attached_bytes import detach
from writ_contracts.bounds import Label, check_values
from writ_contracts.errors import Conflict, Unreachable
from writ_contracts.journal import Granted, Requested, Resolved
from writ_contracts.large_texts import LARGE
from writ_contracts.life import MOST_ATTEMPTS, AcceptedLife, DispatchedLife, GrantedLife, Life, State
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.journal.traces import going_on
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.outcomes import OutcomeRecorder, earlier_effect
from writ_runtime.faults import fault
from writ_trust.statements import digest

_CERTAIN = ("succeeded", "failed", "cancelled")
"""Outcomes of agents that end an operation. One that only a newer release knows leaves the effect unknown here."""
_AWAITED = (State.DISPATCHED, State.STARTED, State.CANCELLING, State.UNKNOWN)
"""States in which a receipt can be news."""


class ReceivedReceipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ReceiptMessage whose full output is not decoded yet. `attached`: its large texts, beside the JSON."""

    receipt: Signed
    principal: Label
    full_output: Raw = Raw(b"{}")
    texts: TextSizes = []
    attached: bytes = b""


class ReceiptEndpoint:
    """Answers `writ.receipt.<pool>` and `writ.report.<pool>`."""

    def __init__(
        self,
        statements: AgentStatements,
        lives: OperationTable,
        recorder: Recorder,
        vault: Vault,
        dispatcher: Dispatcher,
        outcomes: OutcomeRecorder,
        alarms: SecurityEventRecorder,
    ) -> None:
        self._statements = statements
        self._lives = lives
        self._recorder = recorder
        self._vault = vault
        self._dispatcher = dispatcher
        self._outcomes = outcomes
        self._alarms = alarms

    async def handle_receipt(self, message: Message) -> Acknowledgement:
        """Acknowledge a receipt stored now, stored before, or not needed. Raises WritError if the agent must keep it or
        has no right to send it.

        A start may be stored after its receipt was sent: NATS holds an append back, or a former leader of the journal
        replies to the read.
        """
        body = _received(message.data)
        pool = subjects.parse_pool(message.subject)
        receipt = await self._statements.open(pool, body.receipt, Receipt)
        life = self._as_expected(receipt)
        for _ in range(ATTEMPTS):
            life = life or await self._lives.fresh(body.principal, receipt.operation_id)
            if _may_yet_start(life, receipt):
                if receipt.grant_digest is None and _ran_nothing(receipt):
                    return Acknowledgement(stored=True, unsettled=receipt.claim_digest is not None)
                raise Unreachable(f"the start of {receipt.operation_id} is not stored here yet: send it again")
            try:
                with going_on(life):
                    await self._apply_receipt(life, receipt, body)
            except Conflict:
                life = None  # another writer was first: read the life again
                continue
            return Acknowledgement(stored=True)
        raise Conflict(f"{receipt.operation_id} changed {ATTEMPTS} times")

    def _as_expected(self, receipt: Receipt) -> Life | None:
        """Return the life from the index if it waits for exactly this receipt. Any other receipt needs the journal."""
        life = self._lives.known(receipt.operation_id)
        waits = isinstance(life, GrantedLife) and life.state is State.STARTED and _names_grant(life.started, receipt)
        return life if waits else None

    async def _apply_receipt(self, life: Life, receipt: Receipt, body: ReceivedReceipt) -> None:
        if not isinstance(life, DispatchedLife) or not await self._belongs(life, receipt, body.receipt.key):
            return
        requested = life.requested
        await self._keep_result(requested, receipt, body)
        fault("executor.receipt")
        if receipt.outcome == "unknown" or receipt.outcome not in _CERTAIN:  # by its name for mypy alone
            await self._unclear(life, receipt, body.receipt)
        elif _ran_nothing(receipt) and earlier_effect(life):  # this attempt; the fate of the earlier one is unknown
            if life.state is not State.UNKNOWN:
                await self._outcomes.mark_unknown(life, receipt.code, receipt.message, receipt=body.receipt)
        elif life.state is State.UNKNOWN:
            await self._outcomes.resolve(life, self._resolved(requested, receipt, receipt.outcome, body.receipt))
        else:
            await self._outcomes.finish(
                life,
                outcome=receipt.outcome,
                code=receipt.code,
                message=receipt.message,
                output=receipt.output,
                state=receipt.state,
                output_digest=receipt.output_digest,
                receipt=body.receipt,
            )
        fault("executor.finished")

    async def _keep_result(self, requested: Requested, receipt: Receipt, body: ReceivedReceipt) -> None:
        """Keep the output for its requester where the record has not all of it. A large one is kept as it came, and
        checked when it is read: the record has at most a part of it.
        """
        place = (requested.principal, requested.operation_id)
        full_output = bytes(body.full_output)
        if body.texts or body.attached:
            others = decode(full_output, dict[str, Any])
            check_values(others)
            await self._vault.keep_attached_result(*place, others, body.texts, body.attached)
            return
        if len(full_output) >= LARGE:
            await self._vault.keep_large_result(*place, full_output)
            return
        output = decode(full_output, dict[str, Any])
        check_values(output)
        if output and output != receipt.output:
            await self._vault.keep_result(*place, output)

    async def _belongs(self, life: DispatchedLife, receipt: Receipt, key: str) -> bool:
        """Return whether the receipt is news, comes from the instance and key of the claim, and names its grant."""
        if life.state not in _AWAITED:
            return False
        requested = life.requested
        over = receipt.attempt < life.dispatched.attempt
        started = await self._start_of(life, receipt) if requested.pool == receipt.pool else None
        if started is not None and _is_about(started, receipt) and not _is_by(started, receipt, key):
            await self._forged(requested, receipt, "comes from another key or instance than its claim")
            return False
        if started is not None and _names_grant(started, receipt):
            # Of an attempt that another one follows only a success is news, and not while that one runs.
            return not over or (receipt.outcome == "succeeded" and life.state in (State.DISPATCHED, State.UNKNOWN))
        if started is not None and _not_begun(started, receipt):
            return not over
        if life.state is State.DISPATCHED or (receipt.grant_digest is None and _ran_nothing(receipt)):
            return False  # of a claim that was given up, beside the one that was granted
        await self._forged(requested, receipt, "names no grant of this operation")
        return False

    async def _forged(self, requested: Requested, receipt: Receipt, how: str) -> None:
        await self._statements.refused(receipt.pool, Receipt, f"for {receipt.operation_id}, it {how}", requested)

    async def _start_of(self, life: DispatchedLife, receipt: Receipt) -> Granted | None:
        if not isinstance(life, GrantedLife):
            return None
        if life.started.attempt <= receipt.attempt:
            return life.started
        requested = life.requested
        return await self._lives.start_of(requested.principal, requested.operation_id, receipt.attempt)

    async def _unclear(self, life: DispatchedLife, receipt: Receipt, signed: Signed) -> None:
        """Handle an undecided receipt: an idempotent operation runs again once nothing of it runs any more; others
        become `unknown`.
        """
        if life.state is State.UNKNOWN:
            return
        repeatable = life.requested.idempotent and life.dispatched.attempt < MOST_ATTEMPTS
        if repeatable and receipt.over and life.state is State.STARTED:
            await self._dispatcher.again(life, over=signed)
        else:
            await self._outcomes.mark_unknown(life, receipt.code or "lost", receipt.message, receipt=signed)

    def _resolved(
        self,
        requested: Requested,
        receipt: Receipt,
        outcome: Literal["succeeded", "failed", "cancelled"],
        signed: Signed,
    ) -> Resolved:
        return Resolved(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            outcome=outcome,
            how="receipt",
            code=receipt.code,
            message=receipt.message,
            output=receipt.output,
            state=receipt.state,
            output_digest=receipt.output_digest,
            receipt=signed,
        )

    async def handle_report(self, message: Message) -> Acknowledgement:
        """Record a security event reported by an agent."""
        body = decode(message.data, ReportMessage, limit=LARGEST_REPORT)
        pool = subjects.parse_pool(message.subject)
        report = await self._statements.open(pool, body.report, SecurityReport)
        await self._alarms.raised(
            pool,
            *report.recorded,
            operation_id=report.operation_id,
            principal=report.principal,
            correlation_id=self._correlation(report.operation_id),
            report=body.report,
        )
        return Acknowledgement(stored=True)

    def _correlation(self, operation_id: str | None) -> str:
        life = self._lives.known(operation_id) if operation_id else None
        return life.requested.correlation_id if isinstance(life, AcceptedLife) else ""


def _received(data: bytes) -> ReceivedReceipt:
    """Return the message. Raises Invalid."""
    content, attached = detach(data)
    return structs.replace(decode(content, ReceivedReceipt), attached=attached)


def _may_yet_start(life: Life, receipt: Receipt) -> bool:
    """Return whether the attempt has not started, as far as this life shows, and may have by now."""
    if not isinstance(life, AcceptedLife) or not life.open or life.requested.pool != receipt.pool:
        return False
    dispatched = life.dispatched.attempt if isinstance(life, DispatchedLife) else 0
    if life.state is State.DISPATCHED and dispatched == receipt.attempt:
        return True
    return dispatched < receipt.attempt <= (MOST_ATTEMPTS if life.requested.idempotent else 1)


def _names_grant(started: Granted, receipt: Receipt) -> bool:
    return digest(started.grant) == receipt.grant_digest


def _is_about(started: Granted, receipt: Receipt) -> bool:
    return _names_grant(started, receipt) or _not_begun(started, receipt)


def _is_by(started: Granted, receipt: Receipt, key: str) -> bool:
    return (started.claim.key, started.instance) == (key, receipt.instance)


def _not_begun(started: Granted, receipt: Receipt) -> bool:
    """Return true if the sender of this very claim reports it did not begin: the reply got lost, or held no grant of
    policy.
    """
    same = digest(started.claim) == receipt.claim_digest
    return same and receipt.outcome == "failed" and receipt.effect == "none"


def _ran_nothing(receipt: Receipt) -> bool:
    return receipt.effect == "none" and receipt.outcome != "succeeded"
