"""Previews of pending operations: an agent makes and signs one, the journal stores it, approvers see it.

The first preview of an operation counts, so none is taken again. A failed one is tried again, less and less often.
"""

import asyncio
from collections.abc import Callable

from writ_contracts.decisions import Decision
from writ_contracts.errors import Conflict, WritError
from writ_contracts.journal import PreviewTaken, Requested
from writ_contracts.life import AcceptedLife, State
from writ_contracts.operations import Catalogue
from writ_contracts.people.approvals import seconds_of
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.steps.host_reads import HostReadRequests
from writ_executor.steps.parameter_retention import PENDING_SLACK
from writ_runtime.logs import Log
from writ_trust.statements import digest, read

AT_ONCE = 8
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
MOST_REMEMBERED = 20_000

_log = Log("writ.executor")


class PendingPreviews:
    """Takes the preview of each pending operation once."""

    def __init__(
        self,
        catalogue: Catalogue,
        index: Index,
        recorder: Recorder,
        vault: Vault,
        presence: AgentPresence,
        host_reads: HostReadRequests,
        audit_detail: AuditDetail,
        boot: Callable[[], float],
    ) -> None:
        """`boot`: the boot clock."""
        self._catalogue = catalogue
        self._index = index
        self._recorder = recorder
        self._vault = vault
        self._presence = presence
        self._host_reads = host_reads
        self._audit_detail = audit_detail
        self._boot = boot
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._pauses: dict[str, tuple[float, float]] = {}
        self._refusals: dict[str, str] = {}
        """The code of the latest failed try, by operation."""
        self._taking: set[str] = set()
        """Operations whose preview waits for a slot or an agent: for longer than the pause, if agents are slow."""

    def is_due(self, life: AcceptedLife) -> bool:
        """Return true if a preview is missing and a try is due now."""
        requested = life.requested
        if not _lacks_preview(life) or not self._has_preview(requested) or not self._presence.agents(requested.pool):
            return False
        if requested.operation_id not in self._pauses:  # the replica that accepted it takes the preview, if it lives
            self._postpone(requested.operation_id)
        return self._boot() >= self._pauses[requested.operation_id][0]

    def refusal(self, operation_id: str) -> str:
        """Return the code with which the latest preview of the operation failed; empty if none did here."""
        return self._refusals.get(operation_id, "")

    def _has_preview(self, requested: Requested) -> bool:
        return requested.operation in self._catalogue and self._catalogue[requested.operation].preview

    async def take(self, life: AcceptedLife) -> None:
        """Have a preview made and record it. A failed one is tried again later."""
        requested = life.requested
        if not self._has_preview(requested) or requested.operation_id in self._taking:
            return
        self._taking.add(requested.operation_id)
        try:
            await self._try(requested)
        finally:
            self._taking.discard(requested.operation_id)

    async def _try(self, requested: Requested) -> None:
        self._postpone(requested.operation_id)
        async with self._slots:
            try:
                await self._take(requested)
            except WritError as error:
                _log.info("preview.not_taken", operation_id=requested.operation_id, code=error.code, reason=str(error))
                self._refusals[requested.operation_id] = error.code
                return
        self._refusals.pop(requested.operation_id, None)
        self._pauses.pop(requested.operation_id, None)

    def _postpone(self, operation_id: str) -> None:
        if len(self._pauses) >= MOST_REMEMBERED:
            self._pauses.clear()
            self._refusals.clear()
        pause = self._pauses.get(operation_id, (0.0, FIRST_PAUSE))[1]
        self._pauses[operation_id] = self._boot() + pause, min(pause * 2, LONGEST_PAUSE)

    async def _take(self, requested: Requested) -> None:
        taken = await self._host_reads.read_preview(requested, shown=self._audit_detail.outputs)
        if taken.preview.parameters_digest != requested.parameters_digest:
            # No forgery: a rule may fill in other values now.
            raise Conflict("the preview is of other parameters than those at the request")
        if taken.details is not None:
            seconds = seconds_of(read(requested.decision, Decision).demands) + PENDING_SLACK
            await self._vault.keep_details(requested.operation_id, digest(taken.signed), taken.details, seconds)
        life = self._index.get(requested.operation_id)
        if isinstance(life, AcceptedLife) and _lacks_preview(life):
            await self._recorder.append(
                life,
                PreviewTaken(
                    **self._recorder.stamp(requested.correlation_id),
                    operation_id=requested.operation_id,
                    preview=taken.signed,
                ),
            )


def _lacks_preview(life: AcceptedLife) -> bool:
    return life.state is State.AWAITING_APPROVAL and not life.preview_digest
