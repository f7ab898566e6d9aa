"""Sessions in the journal, kept beside the files for NATS's users: their keys are users of their principals.

Each was verified when it was read: its principal signed for exactly this key, and policy allowed it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from writ_contracts import subjects
from writ_contracts.catalogue.sessions import SESSION_OPEN
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.installation.restore_marker import JOURNAL_RESTORED
from writ_contracts.inventory import Principal
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_documents import atomic_files
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import REPAIRED, is_damaged, ordered_events, trusted_keys, without_copies
from writ_runtime.logs import Log
from writ_trust.control_events import is_decided, stored_late
from writ_trust.keys import is_public
from writ_trust.sessions import NONE, Session, Sessions, sessions_after

KINDS = frozenset({"session_open", "session_end", "session_idle", "principal_manage", JOURNAL_RESTORED})
OF_SESSIONS = frozenset(subjects.control_event(kind) for kind in ("session_open", "session_end", "session_idle"))
_log = Log("writ.keeper")


class KnownSessions(Struct, frozen=True, kw_only=True):
    """The sessions in the journal up to `sequence`."""

    sequence: int = 0
    sessions: list[Session] = []


def known_sessions(home: Home) -> KnownSessions:
    """Return the sessions on file. Raises ConfigError for a damaged file."""
    try:
        return msgspec.json.decode(home.sessions.read_bytes(), type=KnownSessions)
    except FileNotFoundError:
        return KnownSessions()
    except (OSError, ValueError) as error:
        advice = f"; {REPAIRED}" if is_damaged(home.sessions) else ""
        raise ConfigError(f"{home.sessions}: {error}{advice}") from error


def damaged(home: Home) -> list[Path]:
    """Return the damaged files of changes and sessions. Raises ConfigError if one cannot be read."""
    return [path for path in (home.principal_changes, home.sessions) if is_damaged(path)]


def discard_damaged(home: Home) -> None:
    """Delete the damaged files, for a server that must start before the journal can be read. Raises ConfigError."""
    for path in damaged(home):
        report_damaged(path)
        path.unlink()


def report_damaged(path: Path) -> None:
    """Log that the file is written again."""
    _log.warning("keeper.file_damaged", path=str(path), effect="it is written again")


def keep_sessions(home: Home, known: KnownSessions) -> None:
    """Write the sessions to their file."""
    atomic_files.save(home.sessions, msgspec.json.encode(known))


def session_keys(
    sessions: Iterable[Session], principals: Iterable[Principal], held: Collection[str], at: float
) -> dict[str, list[str]]:
    """Return the keys of the open sessions, by principals with access: those which their present keys opened.

    None is the key of another party: one key of two users would have NATS refuse its whole configuration.
    """
    known = {one.id: one for one in principals}
    taken = {*held, *(one.key for one in known.values())}
    found: dict[str, list[str]] = {}
    for session in sessions:
        principal = known.get(session.by)
        if principal is None or principal.key != session.signer or not session.lasts(at) or session.key in taken:
            continue
        if not is_public(session.key):
            _log.error("keeper.session_key_refused", session=session.id, effect="it has no access to NATS")
            continue
        found.setdefault(session.by, []).append(session.key)
        taken.add(session.key)
    return found


def lasting(home: Home, at: float) -> list[str]:
    """Return the ids of the open sessions, or the problem of their file."""
    try:
        return [one.id for one in known_sessions(home).sessions if one.lasts(at)]
    except ConfigError as error:
        return [str(error)]


class ObservedSession(Struct, frozen=True):
    """The state of an installation's files, and of its sessions."""

    files: list[object]
    sessions: list[str]


class SessionRecord:
    """The sessions as of the last read of the journal; the first read is of the whole journal."""

    def __init__(self, before: Iterable[Session] = ()) -> None:
        """`before`: verified earlier, perhaps by an earlier key of policy."""
        self._verified = {one.id: one for one in before}
        self._opened: set[str] = set()
        self.sessions: Sessions = NONE
        self._last = (0, b"")

    def continues(self, records: Sequence[Record]) -> bool:
        """Return whether these events from `sequence` on only add sessions or their ends to what was read. Else the
        whole journal is to be read: it is another one, has an archive, or other changes.
        """
        if not records or self._last != (records[0].sequence, records[0].data):
            return False
        return all(one.subject in OF_SESSIONS and CARRIED_FROM not in one.headers for one in records[1:])

    def take_in(self, records: Sequence[Record], keys: Mapping[str, int], installation: str) -> None:
        """Apply the control events after `sequence`. `keys`: policy's, each with the last event for which it counts.
        Copies count as the last archive names them. A session that policy did not allow does not count.
        """
        fresh = [one for one in records if one.sequence > self.sequence]
        ordered = ordered_events(fresh, keys, installation)
        for first, record in (without_copies(fresh) if ordered is None else ordered).items():
            event = _read(record)
            if event is not None and event.kind in KINDS:
                self._apply(record, event, trusted_keys(keys, first), installation)
        for last in fresh[-1:]:
            self._last = (last.sequence, last.data)

    @property
    def sequence(self) -> int:
        """The last read control event."""
        return self._last[0]

    def _apply(self, record: Record, event: ControlEvent, trusted: Sequence[str], installation: str) -> None:
        if event.kind == SESSION_OPEN:
            if event.operation_id in self._opened:
                return
            if not (self._is_verified(event) or _is_allowed(record, event, trusted, installation)):
                _log.warning("keeper.session_not_allowed", sequence=record.sequence, effect="it does not count")
                return
            self._opened.add(event.operation_id)
        self.sessions = sessions_after(self.sessions, event)

    def _is_verified(self, event: ControlEvent) -> bool:
        before = self._verified.get(event.operation_id)
        found = next(iter(sessions_after(NONE, event).values()), None)
        if before is None or found is None:
            return False
        return (found.by, found.key, found.signer) == (before.by, before.key, before.signer)


def _read(record: Record) -> ControlEvent | None:
    try:
        return decode(record.data, ControlEvent)
    except Invalid:
        return None


def _is_allowed(record: Record, event: ControlEvent, trusted: Sequence[str], installation: str) -> bool:
    return not stored_late(event, record) and is_decided(event, trusted, installation)
