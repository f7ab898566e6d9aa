"""Reads of a host by agents: the preview of a dry run, and the probe of an operation whose agent is silent.

Each carries a ReadGrant signed by policy for this very operation. Without one no agent reads anything.
"""

from typing import Any, Literal

from writ_bus.port import Bus
from writ_contracts import parameters as params
from writ_contracts import subjects
from writ_contracts.agents import Claim, ReadReply, ReadRequest
from writ_contracts.decisions import DecideRequest, ReadAction
from writ_contracts.errors import Denied, Invalid, Unreachable, WritError
from writ_contracts.journal import Requested, Resolved
from writ_contracts.life import AcceptedLife, GrantedLife, State
from writ_contracts.operations import Catalogue
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.policy.client import PolicyClient, exception_of
from writ_executor.policy.recorded_request import subject_of
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_trust.statements import read

READ_GRANT_SECONDS = 60.0
REPLY_SECONDS = 35.0


class HostReadRequests:
    """Requests for reads to agents."""

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        index: Index,
        vault: Vault,
        policy: PolicyClient,
        outcomes: OutcomeRecorder,
        statements: AgentStatements,
    ) -> None:
        self._bus = bus
        self._catalogue = catalogue
        self._index = index
        self._vault = vault
        self._policy = policy
        self._outcomes = outcomes
        self._statements = statements
        self._previewing: set[str] = set()

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
            observed = await self._preview(requested)
        except WritError as error:
            code = "no_agent" if isinstance(error, Unreachable) and error.code == "unavailable" else error.code
            await self._outcomes.finish(life, outcome="failed", code=code, message=f"no preview: {error}")
            return
        shown = self._outcomes.shown(observed.observed)
        whole = {**observed.observed, **(observed.details.values if observed.details is not None else {})}
        await self._outcomes.finish(life, outcome="previewed", output=shown, whole=whole if whole != shown else None)

    async def _preview(self, requested: Requested) -> ReadReply:
        if not self._catalogue.find(requested.operation).preview:
            note = "the policy allows it; this operation has no preview on the host"
            return ReadReply(observed={"note": note})
        return await self.read_preview(requested)

    async def read_preview(self, requested: Requested, *, shown: bool = True) -> ReadReply:
        """Return an agent's preview. `shown`: the journal may have its values. Raises WritError."""
        return await self._read(requested, "preview", {}, attempt=1, shown=shown)

    async def probe(self, life: GrantedLife) -> None:
        """Probe the operation's effect, and record the outcome if the result is conclusive."""
        started = life.started
        reply = await self._read(life.requested, "probe", read(started.claim, Claim).baseline, attempt=started.attempt)
        if reply.verdict == "took_effect":
            await self._settle(life, "succeeded", "the probe found its effect", reply)
        elif reply.verdict == "no_effect" and life.state is State.UNKNOWN:
            await self._settle(life, "failed", "the probe found no effect and no running process of it", reply)

    async def _settle(
        self, life: GrantedLife, outcome: Literal["succeeded", "failed"], message: str, reply: ReadReply
    ) -> None:
        requested = life.requested
        state = self._outcomes.shown(reply.observed)
        if life.state is State.UNKNOWN:
            event = Resolved(
                **self._outcomes.stamp(requested),
                operation_id=requested.operation_id,
                outcome=outcome,
                how="probe",
                code="probed",
                message=message,
                state=state,
            )
            await self._outcomes.resolve(life, event)
        else:
            await self._outcomes.finish(life, outcome=outcome, code="probed", message=message, state=state)

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
    ) -> ReadReply:
        parameters = await self._vault.parameters(requested)
        key = self._vault.keys_of(requested).read_grant
        question = DecideRequest(
            subject=subject_of(requested, parameters, self._vault.keys_of(requested).parameters),
            control_sequence=self._index.control_sequence,
            look=[action],
            look_until=self._outcomes.now() + READ_GRANT_SECONDS,
            look_key=key,
        )
        look, effective = await self._permitted(requested, question)
        definition = self._catalogue.find(requested.operation)
        readable = effective if action == "preview" else params.public(definition.parameters, effective)
        request = ReadRequest(
            look=look,
            action=action,
            parameters=readable,
            look_key=key,
            baseline=baseline,
            attempt=attempt,
            shown=shown,
        )
        message = await self._bus.request(subjects.host_read(requested.pool), encode(request), timeout=REPLY_SECONDS)
        reply = decode(message.data, ReadReply)
        if reply.error is not None:
            raise exception_of(reply.error)
        return reply
