"""Reads of a host by agents: the preview of a dry run, and the probe of an operation whose agent is silent.

Each carries a ReadGrant signed by policy for this very operation. Without one no agent reads anything.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from writ_bus.port import Bus, Message
from writ_contracts import parameters as params
from writ_contracts import subjects
from writ_contracts.agents import Claim, ProbeFinding, ReadReply, ReadRequest
from writ_contracts.decisions import DecideRequest, ReadAction
from writ_contracts.errors import Denied, Invalid, Unreachable, WritError
from writ_contracts.journal import Requested, Resolved
from writ_contracts.life import AcceptedLife, GrantedLife, State
from writ_contracts.operations import Catalogue
from writ_contracts.people.previews import Preview, PreviewDetails
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_executor.agents.signed_replies import SignedReplies
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.policy.answers import exception_of
from writ_executor.policy.client import PolicyClient
from writ_executor.policy.recorded_request import subject_of
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, read

READ_GRANT_SECONDS = 60.0
REPLY_SECONDS = 35.0
MOST_REASONS, LONGEST_REASON = 1_000, 500


class TakenPreview(Struct, frozen=True):
    """A preview whose signature and details were checked."""

    preview: Preview
    signed: Signed
    details: PreviewDetails | None


class HostReadRequests:
    """Requests for reads to agents."""

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        index: Index,
        recorder: Recorder,
        vault: Vault,
        policy: PolicyClient,
        audit_detail: AuditDetail,
        outcomes: OutcomeRecorder,
        statements: AgentStatements,
        replies: SignedReplies,
    ) -> None:
        self._bus = bus
        self._catalogue = catalogue
        self._index = index
        self._recorder = recorder
        self._vault = vault
        self._policy = policy
        self._audit_detail = audit_detail
        self._outcomes = outcomes
        self._statements = statements
        self._replies = replies
        self._previewing: set[str] = set()
        self._undecided: dict[str, str] = {}
        """Why the latest probe of an operation did not find its outcome."""

    async def preview(self, life: AcceptedLife) -> None:
        """End a dry run: `previewed` with the expected changes on the present target, or `failed` with the reason."""
        requested = life.requested
        if requested.operation_id in self._previewing:
            return
        self._previewing.add(requested.operation_id)
        try:
            await self._preview_once(life, requested)
        finally:
            self._previewing.discard(requested.operation_id)

    async def _preview_once(self, life: AcceptedLife, requested: Requested) -> None:
        try:
            shown, details = await self._preview(requested)
        except WritError as error:
            await self._outcomes.finish(life, outcome="failed", code=error.code, message=no_preview(str(error)))
            return
        whole, recorded = {**shown, **details}, self._audit_detail.shown(shown)
        await self._outcomes.finish(
            life, outcome="previewed", output=recorded, whole=whole if whole != recorded else None
        )

    async def _preview(self, requested: Requested) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the record may show of the preview, and the details."""
        if not self._catalogue.find(requested.operation).preview:
            return {"note": "the policy allows it; this operation has no preview on the host"}, {}
        taken = await self.read_preview(requested)
        note = {"note": taken.preview.note} if taken.preview.note else {}
        return taken.preview.shown or note, taken.details.values if taken.details is not None else {}

    async def read_preview(self, requested: Requested, *, shown: bool = True) -> TakenPreview:
        """Return a preview that an agent of the pool signed. `shown`: the journal may have its values. Raises
        WritError.
        """
        _, message = await self._read(requested, "preview", {}, attempt=1, shown=shown)
        reply = _result(message)
        if reply.preview is None:
            raise await self._statements.refused(requested.pool, Preview, "it is not signed", requested)
        preview = await self._statements.open(requested.pool, reply.preview, Preview, requested)
        about = (preview.operation_id, preview.operation, preview.target)
        if about != (requested.operation_id, requested.operation, requested.target):
            raise await self._statements.refused(requested.pool, Preview, "it is of another operation", requested)
        details = reply.details
        if preview.details_digest != (keyed_digest(details.salt, details.values) if details is not None else None):
            raise await self._statements.refused(requested.pool, Preview, "its details were changed", requested)
        return TakenPreview(preview, reply.preview, details)

    async def probe(self, life: GrantedLife, shows_its_effect: Callable[[], Awaitable[bool]]) -> None:
        """Probe the operation's effect, and record the outcome if the result is conclusive.

        `shows_its_effect`: whether no later operation has changed the target; called once the agent has looked.
        """
        started = life.started
        baseline = read(started.claim, Claim).baseline
        sent, message = await self._read(life.requested, "probe", baseline, attempt=started.attempt)
        await self._replies.check_any(life, sent, message)
        reply = _result(message)
        await self._check_finding(life, sent, reply)
        self._keep_reason(life.requested.operation_id, reply)
        if not await shows_its_effect():
            return
        if reply.verdict == "took_effect":
            await self._settle(life, "succeeded", "the probe found its effect", reply)
        elif reply.verdict == "no_effect" and life.state is State.UNKNOWN:
            await self._settle(life, "failed", "the probe found no effect and no running process of it", reply)

    def _keep_reason(self, operation_id: str, reply: ReadReply) -> None:
        self._undecided.pop(operation_id, None)
        if reply.verdict == "unknown" and (reason := str(reply.observed.get("reason", ""))):
            self._undecided[operation_id] = reason[:LONGEST_REASON]
            if len(self._undecided) > MOST_REASONS:
                del self._undecided[next(iter(self._undecided))]

    def undecided(self, operation_id: str) -> str:
        """Return why the latest probe by this replica did not find the operation's outcome, if it found none."""
        return self._undecided.get(operation_id, "")

    async def _check_finding(self, life: GrantedLife, sent: bytes, reply: ReadReply) -> None:
        """Check the signed finding. Raises Untrusted."""
        requested = life.requested
        if reply.finding is None:
            raise await self._statements.refused(requested.pool, ProbeFinding, "it is not signed", requested)
        found = await self._statements.open(requested.pool, reply.finding, ProbeFinding, requested)
        about = (requested.operation_id, requested.operation, requested.target)
        if (found.operation_id, found.operation, found.target) != about:
            raise await self._statements.refused(requested.pool, ProbeFinding, "it is of another operation", requested)
        asked = (digest(decode(sent, ReadRequest).look), life.started.attempt, reply.verdict)
        if (found.look_digest, found.attempt, found.verdict) != asked:
            raise await self._statements.refused(requested.pool, ProbeFinding, "it is of another probe", requested)

    async def _settle(
        self, life: GrantedLife, outcome: Literal["succeeded", "failed"], message: str, reply: ReadReply
    ) -> None:
        requested = life.requested
        state = self._audit_detail.shown(reply.observed)
        if life.state is State.UNKNOWN:
            event = Resolved(
                **self._recorder.stamp(requested.correlation_id),
                operation_id=requested.operation_id,
                outcome=outcome,
                how="probe",
                code="probed",
                message=message,
                state=state,
                probe=reply.finding,
            )
            await self._outcomes.resolve(life, event)
        else:
            await self._outcomes.finish(
                life, outcome=outcome, code="probed", message=message, state=state, probe=reply.finding
            )

    async def _permitted(self, requested: Requested, question: DecideRequest) -> tuple[Signed, dict[str, Any]]:
        """Return policy's read grant and the effective parameters. Raises Denied without a grant."""
        try:
            decided = await self._policy.decide(question)
        except Invalid as error:
            await self._statements.listing_refused(requested, error)
            raise
        if decided.look is None:
            raise Denied(f"policy denies it: {decided.decision.reason}", code=decided.decision.code)
        return decided.look, dict(decided.effective)

    async def _read(
        self,
        requested: Requested,
        action: ReadAction,
        baseline: dict[str, Any],
        *,
        attempt: int,
        shown: bool = True,
    ) -> tuple[bytes, Message]:
        """Have an agent read. Return the sent request and the reply."""
        parameters = await self._vault.parameters(requested)
        keys = self._vault.keys_of(requested)
        question = DecideRequest(
            subject=subject_of(requested, parameters, keys.parameters),
            control_sequence=self._index.control_sequence,
            look=[action],
            look_until=self._recorder.clock() + READ_GRANT_SECONDS,
            look_key=keys.read_grant,
        )
        look, effective = await self._permitted(requested, question)
        definition = self._catalogue.find(requested.operation)
        readable = effective if action == "preview" else params.public(definition.parameters, effective)
        request = encode(
            ReadRequest(
                look=look,
                action=action,
                parameters=readable,
                look_key=keys.read_grant,
                baseline=baseline,
                attempt=attempt,
                shown=shown,
            )
        )
        try:
            return request, await self._bus.request(subjects.host_read(requested.pool), request, timeout=REPLY_SECONDS)
        except Unreachable as error:
            raise Unreachable(str(error), code="no_agent") from error


def _result(message: Message) -> ReadReply:
    """Return the agent's result. Raises its error."""
    reply = decode(message.data, ReadReply)
    if reply.error is not None:
        raise exception_of(reply.error)
    return reply


def no_preview(message: str) -> str:
    """Return the message of a failed dry run."""
    return f"no preview: {message}"
