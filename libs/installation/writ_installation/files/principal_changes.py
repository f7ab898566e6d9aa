"""Changes of principals in the journal, kept beside the files for NATS's users.

NATS needs its users before anyone can read the journal, so the provisioner keeps the changes in a file of its own. Each
was verified when it was read: policy allowed exactly this change on its author's signature.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from writ_contracts import subjects
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.installation.known_changes import KnownChanges, VerifiedChange
from writ_contracts.inventory import Principal
from writ_contracts.journal import ControlEvent
from writ_contracts.people.principal_changes import is_active, principals_in_force, read_change
from writ_contracts.wire import decode
from writ_documents import atomic_files
from writ_documents.principal_changes import read_principal_changes
from writ_documents.readers import read_principals
from writ_installation.files.home import Home
from writ_runtime.logs import Log
from writ_trust.control_events import allowed_by_policy, covers_parameters, is_decided, stored_late
from writ_trust.copied_control_events import in_order
from writ_trust.keys import is_public

KIND = "principal_manage"
CHANGES = subjects.control_event(KIND)
REPAIRED = "`writ up` writes it again"
_log = Log("writ.keeper")


def known_changes(home: Home) -> KnownChanges:
    """Return the changes on file. Raises ConfigError for a damaged file."""
    try:
        return read_principal_changes(home.principal_changes)
    except ConfigError as error:
        if not is_damaged(home.principal_changes):
            raise
        raise ConfigError(f"{error}; {REPAIRED}") from error


def is_damaged(path: Path) -> bool:
    """Return whether the file is not JSON, as after a power cut: it may be written again from the journal. A file of
    another release is not damaged. Raises ConfigError if it cannot be read.
    """
    try:
        msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return False
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    except OSError as error:
        raise ConfigError(f"{path}: {error}") from error
    return False


def keep_changes(home: Home, known: KnownChanges) -> None:
    """Write the changes to their file."""
    atomic_files.save(home.principal_changes, msgspec.json.encode(known))


def principals_of(home: Home) -> dict[str, Principal]:
    """Return the principals in force, as far as changes are known here. Raises ConfigError."""
    changes = (one.change for one in known_changes(home).changes)
    return principals_in_force(read_principals(home.principals).principals, changes)


def admitted_principals(home: Home, held_keys: Iterable[str]) -> list[Principal]:
    """Return the principals with access to NATS: active ones, with a key that is not of another party.

    One key of two users, or one whose check sum is wrong, would have NATS refuse its whole configuration, and with it
    every later revocation.
    """
    known, held = principals_of(home), set(held_keys)
    wrong = {one.id for one in known.values() if not is_public(one.key)}
    if wrong:
        _log.error("keeper.keys_refused", principals=sorted(wrong)[:20], effect="they have no access to NATS")
    return [one for one in known.values() if is_active(one, known) and one.key not in held and one.id not in wrong]


def taken_in(
    known: KnownChanges, records: Sequence[Record], keys: Mapping[str, int], installation: str
) -> KnownChanges:
    """Return the changes made by the journal's control events: each once, in their first order. `keys`: policy's,
    each with the last event for which it counts.

    A change that is known was verified before, perhaps by an earlier key of policy. One that policy did not allow does
    not count, nor does a known one that the journal does not have any more. Copies count as the last archive names
    them. If they are others, none of them counts and the known changes stay: policy stops everything then.
    """
    before, changes = {one.operation_id: one for one in known.changes}, dict[str, VerifiedChange]()

    ordered = ordered_events(records, keys, installation)
    if ordered is None:
        ordered, changes = without_copies(records), dict(before)
    for first, record in ordered.items():
        if record.subject != CHANGES:
            continue
        change = _change(record, before, trusted_keys(keys, first), installation)
        if change is None:
            _log.warning("keeper.change_not_allowed", sequence=record.sequence, effect="it does not count")
        else:
            changes.setdefault(change.operation_id, change)
    return KnownChanges(changes=list(changes.values()))


def ordered_events(records: Sequence[Record], keys: Mapping[str, int], installation: str) -> dict[int, Record] | None:
    """Return the control events by their first sequence, or None if copies are not those of the last archive."""

    def counts(event: ControlEvent, sequence: int) -> bool:
        return is_decided(event, trusted_keys(keys, sequence), installation)

    try:
        return in_order(records, counts)
    except Untrusted as error:
        _log.error("keeper.copies_refused", error=str(error), effect="copies of control events are not used")
        return None


def without_copies(records: Sequence[Record]) -> dict[int, Record]:
    """Return the events without copies, by their sequence."""
    return {one.sequence: one for one in records if CARRIED_FROM not in one.headers}


def trusted_keys(keys: Mapping[str, int], sequence: int) -> list[str]:
    """Return policy's valid keys for an event first stored at this sequence."""
    return [key for key, last in keys.items() if sequence <= last]


def _change(
    record: Record, before: Mapping[str, VerifiedChange], keys: Sequence[str], installation: str
) -> VerifiedChange | None:
    try:
        event = decode(record.data, ControlEvent)
    except Invalid:
        return None
    change = before.get(event.operation_id)
    if change is None and not stored_late(event, record):
        change = verified(event, keys, installation)
    return change


def verified(event: ControlEvent, keys: Sequence[str], installation: str) -> VerifiedChange | None:
    """Return the change if policy, by one of these keys, allowed exactly it on its author's signature."""
    decision = allowed_by_policy(event, KIND, keys, installation)
    if decision is None or not covers_parameters(decision, event, PrincipalManage):
        return None
    try:
        return VerifiedChange(operation_id=event.operation_id, change=read_change(event))
    except msgspec.ValidationError:
        return None
