"""Storage of large hidden parameters while policy decides, so that an accepted request need not wait for it.

Those of a request that is not accepted are deleted again. Until then they fill the store, also for a principal who may
not run the operation. So each accepted request permits one later request of the same operation and target to be stored
early.
"""

import asyncio
from collections import OrderedDict
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from writ_bus import tasks
from writ_contracts.errors import Conflict, Full
from writ_executor.admission.admission import Admission
from writ_executor.config import ExecutorConfig
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.stored_parameters import PreparedParameters
from writ_executor.requests.attempt import CheckedAttempt
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.parameter_retention import seconds_kept_without_approval

LONGEST_TIMEOUT = 900.0
"""Seconds. The decision may set a longer timeout; then the parameters are stored once more."""
MOST_REMEMBERED = 1_000
_Request = tuple[str, str, str]
"""Principal, operation and target."""


class EarlyStorage:
    """Makes the early copies of one executor, and remembers accepted requests."""

    def __init__(
        self,
        config: ExecutorConfig,
        audit_detail: AuditDetail,
        admission: Admission,
        vault: Vault,
        background: BackgroundTasks,
    ) -> None:
        self._audit_detail = audit_detail
        self._admission = admission
        self._vault = vault
        self._background = background
        self._seconds = seconds_kept_without_approval(LONGEST_TIMEOUT, config)
        self._accepted: OrderedDict[_Request, None] = OrderedDict()

    def copy(self) -> "EarlyCopy":
        """Return the copy of one request, which is not begun yet."""
        return EarlyCopy(self)

    def accept(self, attempt: CheckedAttempt) -> None:
        """Remember that this request was accepted."""
        self._accepted[_request(attempt)] = None
        if len(self._accepted) > MOST_REMEMBERED:
            self._accepted.popitem(last=False)

    def begin(self, attempt: CheckedAttempt, prepared: PreparedParameters, room: ExitStack) -> asyncio.Task[int] | None:
        """Begin to store the parameters of this request; None if they are stored after the decision. `room`: what they
        take of the principal's, as long as no operation is recorded.
        """
        _, hidden = self._audit_detail.sent(attempt.definition, attempt.parameters)
        request = _request(attempt)
        if not hidden or attempt.definition.control or request not in self._accepted:
            return None
        try:
            room.enter_context(self._admission.reserve_bytes(attempt.principal, prepared.encrypt().plain_bytes))
        except Full:
            return None
        del self._accepted[request]  # until the decision accepts this one, too
        storing = self._vault.store_new(attempt.operation_id, attempt.fingerprint, prepared, self._seconds)
        return tasks.start(storing, "store early")

    def lasts(self, seconds: float) -> bool:
        """Return whether an early copy is kept for so long."""
        return seconds <= self._seconds

    def discard(self, attempt: CheckedAttempt, storing: asyncio.Task[int], room: ExitStack) -> None:
        """Delete a copy that no operation needs, once it is stored; then its room is free. After a crash it expires."""
        self._background.spawn("discard early copy", self._discard(attempt, storing, room))

    async def _discard(self, attempt: CheckedAttempt, storing: asyncio.Task[int], room: ExitStack) -> None:
        with room:
            try:
                version = await storing
            except (Conflict, Full):  # nothing of it was stored
                return
            await self._vault.discard(attempt.operation_id, attempt.fingerprint, version)


class EarlyCopy:
    """The early copy of one request, if it has one. On exit it is deleted, unless an operation needs it."""

    def __init__(self, storage: EarlyStorage) -> None:
        self._storage = storage
        self._room = ExitStack()
        self._begun: tuple[CheckedAttempt, asyncio.Task[int]] | None = None

    def begin(self, attempt: CheckedAttempt, prepared: PreparedParameters) -> None:
        """Store the parameters if that may be done before the decision."""
        storing = self._storage.begin(attempt, prepared, self._room)
        if storing is not None:
            self._begun = attempt, storing

    async def lasts(self, seconds: float) -> bool:
        """Return whether the parameters are stored, and kept for so long. Raises errors of the store.

        Their room is free then: the caller takes that of the operation, before anything else can run.
        """
        if self._begun is None:
            return False
        try:
            await asyncio.shield(self._begun[1])
        except (Conflict, Full):  # another request has the same place, or there is no room: the decision counts first
            self._begun = None
            return False
        finally:
            self._room.close()
        return self._storage.lasts(seconds)

    def keep(self, attempt: CheckedAttempt) -> None:
        """Keep the copy: from now on the operation may be on record."""
        self._begun = None
        self._storage.accept(attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun is not None:
            self._storage.discard(*self._begun, self._room.pop_all())


def _request(attempt: CheckedAttempt) -> _Request:
    return attempt.principal, attempt.operation, attempt.target
