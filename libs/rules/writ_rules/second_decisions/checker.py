"""Make recorded decisions a second time: by the version of the policy that was in force then, the control events before
them, and the files of that time.

A decision itself names its version, control event and files, and a thief of policy's key could name earlier ones. Each
must therefore have been current then, within SLACK.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct, structs

from writ_contracts import journal, subjects
from writ_contracts.decisions import Decision
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.inventory import GATEWAY, Principal, Target
from writ_contracts.operations import Catalogue
from writ_contracts.people.credentials import Presence
from writ_contracts.people.directory import CredentialEnrolment, PeopleDirectory
from writ_contracts.people.principal_changes import principals_in_force
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES
from writ_contracts.subjects import parse_event
from writ_contracts.wire import canonical, decode, event_of, kind_of
from writ_documents import yaml_file
from writ_documents.readers import read_inventory, read_principals
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.people import people_of
from writ_rules.loading import checked_document
from writ_rules.second_decisions.comparison import Comparison, compare, or_open
from writ_rules.second_decisions.control_states import ControlStates, EventReader
from writ_rules.second_decisions.file_history import FileHistory, KeptReading
from writ_rules.second_decisions.signatures import DecidedRequest, approvals_on_record, credentials_of
from writ_rules.second_decisions.verdicts import VERDICTS, Verdict, VerdictCheck
from writ_rules.second_decisions.version_history import CompileText, StoredVersion, VersionHistory
from writ_rules.setting import Setting, setting
from writ_trust.digests import plain_digest
from writ_trust.statements import digest, open_signed, read

SLACK = 60.0
"""Seconds for which a replica of policy may still decide by a replaced version or file, and between clocks."""
STORED_WITHIN = 600.0
"""Seconds between a decision and its event: an executor stores it again after an interruption."""
LOOKED_BACK = 500
"""Events before one whose time is before that of its decision, in search of a later time."""
SET_BACK = "the clock of NATS was set back: times do not tell what was in force"
MOST_PRESENCE = Presence("verified", attested=True)
DECISIONS = ("requested", "refused", "granted", "started")
"""Kinds of events with a decision of policy's. Verdicts of people are checked, too (`VERDICTS`)."""
Decided = journal.Requested | journal.Refused | journal.Granted | journal.Started


class SecondDecision(Struct, frozen=True, kw_only=True):
    """The second decision on the one in an event of the journal."""

    sequence: int
    operation_id: str
    principal: str
    operation: str
    target: str
    decided: str
    comparison: Comparison

    @property
    def text(self) -> str:
        """Return the difference for people."""
        expected = self.comparison.expected
        reason = f"the policy of that time gives {expected}" if expected else "not given"
        return (
            f"policy's decision on {self.operation} at {self.target} is {self.decided}, {reason}: {self.comparison.why}"
        )


class Checker:
    """Makes decisions a second time, and caches what it read."""

    def __init__(
        self,
        journal: EventReader,
        policies: EventReader,
        catalogue: Catalogue,
        inventory: FileHistory,
        principals: FileHistory,
        *,
        events: Mapping[str, int],
        versions: Mapping[str, int],
        installation: str,
        now: Callable[[], float],
        people: Callable[[], PeopleDirectory | None] = lambda: None,
        set_forward: Callable[[float, float], float] = lambda _since, _until: 0.0,
        compile_text: CompileText | None = None,
    ) -> None:
        """`events`, `versions`: policy's keys, with the last event and version for which each counts. `now`: the time
        of the journal's server. `people`: the directory of people's credentials, if there is one. `set_forward`: the
        seconds by which that server's clock was set forward between two of its instants, as far as known.
        `compile_text` compiles a version of the policy; by default it is done in this process.
        """
        self._journal, self._catalogue = journal, catalogue
        self._inventory, self._principals = inventory, principals
        self._events, self._installation = events, installation
        self._now, self._set_forward = now, set_forward
        self._latest = (0.0, 0)
        """The latest time of an event that was checked, with its sequence."""
        self._people = people
        self._control = ControlStates(journal, events, installation)
        self._versions = VersionHistory(policies, compile_text or self._compiled, versions, installation)
        self._read_targets = KeptReading(inventory, lambda path: list(read_inventory(path).targets))
        self._read_listed = KeptReading(principals, lambda path: list(read_principals(path).principals))
        self._verdicts = VerdictCheck(self._control, principals, self._read_listed, people, installation, SLACK)

    def _compiled(self, data: bytes, name: str) -> Policy:
        return checked_document(yaml_file.parse(data, name, largest=MAX_DOCUMENT_BYTES), self._catalogue)

    async def check(self, record: Record) -> SecondDecision | None:
        """Return the second decision on that of an event, or the check of a verdict; None for an event without one.
        Raises errors of the bus.
        """
        self._latest = max(self._latest, (record.time, record.sequence))
        event = _event(record)
        if isinstance(event, Verdict):
            return await self._checked_verdict(record, event)
        if event is None or event.decision is None:
            return None
        try:
            decision = open_signed(event.decision, Decision, self._trusted(record.sequence), self._installation)
        except Untrusted:
            return None  # the check of signatures reports this
        return SecondDecision(
            sequence=record.sequence,
            operation_id=decision.operation_id,
            principal=decision.principal,
            operation=decision.operation,
            target=decision.target,
            decided=f"{decision.effect} ({decision.code})",
            comparison=await or_open(self._compared(record, event, decision)),
        )

    async def _checked_verdict(self, record: Record, event: Verdict) -> SecondDecision | None:
        first, requested = _first_request(await self._journal.read(subjects.any_operation_filter(event.operation_id)))
        if first is None or requested is None:
            return None  # the request is in an archive, which is checked by itself
        return SecondDecision(
            sequence=record.sequence,
            operation_id=event.operation_id,
            principal=first.principal,
            operation=first.operation,
            target=first.target,
            decided=f"{kind_of(event)} by {event.approver or 'somebody'}",
            comparison=await or_open(self._verdicts.compared(event, record, first, requested)),
        )

    def _trusted(self, sequence: int) -> Collection[str]:
        return [key for key, last in self._events.items() if sequence <= last]

    async def _compared(self, record: Record, event: Decided, decision: Decision) -> Comparison:
        if not await self._is_stored_in_time(record, decision):
            return _differs(f"by its own time it was made {record.time - decision.at:.0f} s before it was stored")
        try:
            version = await self._versions.of(decision.policy.number)
            control = await self._control.of(decision.control_sequence)
        except (ConfigError, Invalid, Untrusted) as error:
            return Comparison(result="open", why=str(error))
        if self._is_set_back(version):
            return Comparison(result="open", why=SET_BACK)
        if why := self._outdated(version, decision, decision.at):
            is_repeated = self._latest[1] < record.sequence  # an earlier event has a later time
            if is_repeated and not self._outdated(version, decision, max(self._latest[0], decision.at)):
                return Comparison(result="open", why=SET_BACK)
            return _differs(why)
        missed = self._control.missed(decision.control_sequence, record.sequence, decision.at - SLACK)
        if missed:
            return _differs(f"it was made without control event {missed}, which was on record before")
        try:
            recorded = await self._recorded(event, decision, control)
        except Untrusted as error:
            return _differs(f"its record cannot be read: {error}")
        if recorded is None:
            return Comparison(result="open", why="its request is in an archive")
        return self._among_files(decision, recorded, version, control)

    async def _is_stored_in_time(self, record: Record, decision: Decision) -> bool:
        """Return true if the event was stored soon after the decision, by a clock that may have been set in between.

        Policy measures it every 5 s. Nobody else gives events their times, so a later time of an earlier event proves
        that it was set back, and the first event with an earlier time how long ago. That it was set forward is known
        only to those who measured it.
        """
        passed = record.time - decision.at
        if passed > STORED_WITHIN:
            passed -= self._set_forward(decision.at, record.time)
        elif passed < -STORED_WITHIN:
            after = max(record.sequence - 1 - LOOKED_BACK, 0)
            before = await self._journal.read(subjects.JOURNAL, after=after, limit=LOOKED_BACK)
            times = [*(one.time for one in before if one.sequence < record.sequence), record.time]
            later = [at for at, time in enumerate(times) if time > record.time + SLACK]
            if later and record.time - times[later[-1] + 1] <= STORED_WITHIN:
                passed = max(times) - decision.at
        return abs(passed) <= STORED_WITHIN

    def _is_set_back(self, version: StoredVersion) -> bool:
        """Return true if the version or a file is from a time that the server's clock has not reached yet."""
        latest = max(version.stored_at, self._inventory.changed_at, self._principals.changed_at)
        return latest > self._now() + SLACK

    def _outdated(self, version: StoredVersion, decision: Decision, latest: float) -> str:
        """Return why the decision was made by something out of date, if it was made by `latest`; empty if not."""
        number = decision.policy.number
        if version.digest != decision.policy.digest:
            return f"it names another document than that of version {number}"
        if version.replaced_at is not None and decision.at > version.replaced_at + SLACK:
            return f"version {number} of the policy was replaced {decision.at - version.replaced_at:.0f} s before"
        if latest < version.stored_at - SLACK:
            return f"version {number} of the policy was published later"
        named = decision.policy.inventory_digest, decision.policy.principals_digest
        for kept, name in zip((self._inventory, self._principals), named, strict=True):
            if kept.named(name, decision.at, SLACK, latest) is False:
                return f"it names another content of {kept.name} than that of its time"
        return ""

    def _among_files(
        self, decision: Decision, recorded: DecidedRequest, version: StoredVersion, control: ControlState
    ) -> Comparison:
        """Compare by the files that the decision names, or by those of that time for one that audit never read."""
        inventories = self._contents(self._inventory, decision.policy.inventory_digest, decision.at)
        listed = self._contents(self._principals, decision.policy.principals_digest, decision.at)
        exact = inventories == [decision.policy.inventory_digest] and listed == [decision.policy.principals_digest]
        comparisons = [
            compare(decision, recorded, self._setting(version, targets, people, control, decision.at), knows_keys=exact)
            for targets in map(self._read_targets.of, inventories)
            for people in map(self._read_listed.of, listed)
            if targets is not None and people is not None
        ]
        if not comparisons:
            return Comparison(result="open", why="the inventory or principals of that time are not known here")
        best = next((one for one in comparisons if one.result != "differs"), comparisons[0])
        if not exact and best.result == "same":
            return Comparison(
                result="open", expected=best.expected, why="it names files that this audit service has never read"
            )
        return best

    def _contents(self, history: FileHistory, digest: str, at: float) -> list[str]:
        return [digest] if history.named(digest, at, SLACK) else history.around(at, SLACK)

    def _setting(
        self, version: StoredVersion, targets: list[Target], listed: list[Principal], control: ControlState, at: float
    ) -> Setting:
        known = principals_in_force(listed, control.changes)
        people = [one for one in known.values() if one.kind != GATEWAY]
        here = setting(version.policy, self._catalogue, targets, people)
        directory = self._people()
        team = None if directory is None else _team(directory, at)
        solo = directory is not None and directory.posture == "solo"
        return structs.replace(here, people=people_of(known.values(), team, solo=solo), control=control)

    async def _recorded(self, event: Decided, decision: Decision, control: ControlState) -> DecidedRequest | None:
        if isinstance(event, journal.Refused):
            return DecidedRequest(
                parameters=event.parameters, effective=event.parameters, hidden=frozenset(event.hidden), refused=True
            )
        own = subjects.operation_filter(decision.principal, decision.operation_id)
        records = await self._journal.read(own)
        first, record = _first_request(records)
        if first is None or record is None:
            return None
        before = () if isinstance(event, journal.Requested) else map(_operation_event, records)
        return DecidedRequest(
            parameters=first.parameters,
            effective=first.effective if isinstance(event, journal.Requested) else event.parameters,
            hidden=frozenset(first.hidden),
            approvals=tuple(approvals_on_record(before, control, decision)),
            statement=first.statement,
            salt=first.salt,
            dry_run=first.dry_run,
            requested=plain_digest(record.data),
            decided=digest(first.decision),
            parameters_digest=_same_parameters(event, first),
            installation=self._installation,
            reason=first.reason,
            credentials=credentials_of(self._people()),
        )


def _same_parameters(event: Decided, first: journal.Requested) -> str:
    """Return the digest of the parameters of the first decision, if those of the start are the same and all on record;
    else "". Raises Untrusted.
    """
    if (
        not isinstance(event, journal.Granted)
        or first.hidden
        or canonical(event.parameters) != canonical(first.effective)
    ):
        return ""
    return read(first.decision, Decision).parameters_digest


def _team(directory: PeopleDirectory, at: float) -> dict[str, tuple[Presence, ...]] | None:
    """Return the people of the directory, if several had credentials at that time; None for one, who may have been
    alone. The strongest proof is assumed of each.
    """
    everybody = [
        (one, decode(bytes(one.enrolment.payload), CredentialEnrolment).credential.person) for one in directory.entries
    ]
    then = {
        person
        for entry, person in everybody
        if entry.enrolled_at < at - SLACK and (entry.removed_at is None or at + SLACK < entry.removed_at)
    }
    return {person: (MOST_PRESENCE,) for _, person in everybody} if len(then) > 1 else None


def _event(record: Record) -> Decided | Verdict | None:
    where = parse_event(record.subject)
    if where is None or where.event not in (*DECISIONS, *VERDICTS):
        return None
    event = _operation_event(record)
    return event if isinstance(event, Decided | Verdict) else None


def _first_request(records: Iterable[Record]) -> tuple[journal.Requested, Record] | tuple[None, None]:
    """Return the first request among these events of an operation, with its record."""
    pairs = ((_operation_event(record), record) for record in records)
    return next(((one, record) for one, record in pairs if isinstance(one, journal.Requested)), (None, None))


def _operation_event(record: Record) -> object:
    try:
        return event_of(record.subject, record.data)
    except Invalid:
        return None  # the index reports unreadable events


def _differs(why: str) -> Comparison:
    return Comparison(result="differs", why=why)
