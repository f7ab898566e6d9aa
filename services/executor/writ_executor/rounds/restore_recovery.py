"""The first start from a backup: operations open in the backup may have run since, and are not run again.

Before this executor answers anything it records the restore, and ends every older open operation `unknown`; a receipt
or a probe may resolve it. Control operations go on, since all their effects are in the journal. Later starts find
nothing to end.
"""

from pathlib import Path

import msgspec

from writ_bus.port import Journal
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Conflict
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.installation.restore_marker import ENDS_ACCESS, JOURNAL_RESTORED, RestoreMarker
from writ_contracts.journal import ControlEvent
from writ_contracts.life import AcceptedLife, Life, is_open
from writ_contracts.wire import decode_event
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_runtime.logs import Log

_log = Log("writ.executor")


class RestoreRecovery:
    """The end of operations open in a backup."""

    def __init__(
        self,
        path: Path | None,
        journal: Journal,
        index: Index,
        lives: OperationTable,
        recorder: Recorder,
        outcomes: OutcomeRecorder,
    ) -> None:
        """`path`: the file left by `writ restore`; None if nothing was restored."""
        self._path = path
        self._journal = journal
        self._index = index
        self._lives = lives
        self._recorder = recorder
        self._outcomes = outcomes

    async def is_due(self) -> bool:
        """Return whether a restore is not settled yet. Raises as `settle`."""
        restored = _read(self._path)
        if restored is None:
            return False
        records = await self._journal.read(subjects.control_event(JOURNAL_RESTORED))
        return _event_id(restored) not in {decode_event(record.data).id for record in records}

    async def settle(self) -> None:
        """Settle the restore. Raises ConfigError for an unusable file, and errors of the journal."""
        restored = _read(self._path)
        if restored is None:
            return
        await self._record(restored)
        of_before = [life for life in self._index.open() if life.first_sequence <= restored.last and _on_target(life)]
        for life in of_before:
            await self._end(life)
        _log.warning("journal.restored", backup=restored.backup, last=restored.last, ended_unknown=len(of_before))

    async def _record(self, restored: RestoreMarker) -> None:
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": _event_id(restored)},
            kind=JOURNAL_RESTORED,
            principal="",
            operation_id="",
            body={**msgspec.to_builtins(restored), ENDS_ACCESS: True},
        )
        await self._recorder.append_once(subjects.control_event(JOURNAL_RESTORED), event, after=0)

    async def _end(self, opened: AcceptedLife) -> None:
        message = "it was open in the backup that was restored; it is not known whether it ran after that"
        life: Life = opened
        for _ in range(ATTEMPTS):
            if not is_open(life):
                return
            try:
                await self._outcomes.mark_unknown(life, "restored", message)
            except Conflict:  # another replica, which does the same
                life = await self._lives.fresh(life.requested.principal, life.requested.operation_id)
            else:
                return


def _event_id(restored: RestoreMarker) -> str:
    return f"{JOURNAL_RESTORED}-{restored.backup}-{restored.restored_at:.0f}"


def _on_target(life: AcceptedLife) -> bool:
    return life.requested.target != WRIT_TARGET


def _read(path: Path | None) -> RestoreMarker | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=RestoreMarker)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"WRIT_RESTORED: {path} cannot be used: {error}") from error
