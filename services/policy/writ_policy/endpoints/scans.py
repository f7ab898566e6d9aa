"""Reports of scanners: accepted from entitled scanners, stored by scanner and target, and read for each decision.

Nothing is cached: every replica decides by the reports that are stored now.
"""

from collections.abc import Callable, Collection, Iterable
from types import MappingProxyType

from msgspec import structs

from writ_bus.port import Endpoint, Entry, EventStore, Message
from writ_bus.sender import sender_key
from writ_contracts import subjects, wire
from writ_contracts.errors import Conflict, Denied, Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.inventory import SCANNER
from writ_contracts.policy.facts import MOST_REPORT_BYTES, Fact, ScanReply, ScanReport, StoredReport
from writ_contracts.signing import Signed
from writ_policy.decisions.facts import KnownFacts
from writ_policy.state.sources import PolicySources
from writ_rules.engine.facts import Facts
from writ_rules.engine.facts import ScanFinding as Finding
from writ_rules.engine.facts import TargetScan as Report
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer
from writ_trust.digests import plain_digest
from writ_trust.keys import Key
from writ_trust.statements import open_signed, sign

AHEAD_SECONDS = 60.0
"""The most seconds that a scanner's clock may be ahead of the server's."""
ATTEMPTS = 8
CONCURRENCY = 8
MOST_TOLD = 1_000
MOST_STORED_BYTES = 4 * MOST_REPORT_BYTES
"""A stored report has about the size of its JSON, and a signature."""

_log = Log("writ.policy")


class Scans:
    """Serves `writ.scan.<scanner>`, and reads the stored reports."""

    def __init__(
        self,
        stored: EventStore,
        sources: PolicySources,
        key: Key,
        keys: Callable[[float], Collection[str]],
        security: SecurityEvents,
        observe: Observer,
        clock: Callable[[], float],
    ) -> None:
        """Accept and read reports.

        `key` signs stored reports. `keys` returns policy's keys at a time; a report signed by any other key does not
        count, and `security` records it.
        """
        self._stored = stored
        self._key = key
        self._keys = keys
        self._security = security
        self._reported: set[str] = set()
        self._sources = sources
        self._observe = observe
        self._clock = clock

    def endpoint(self) -> Endpoint:
        subject = subjects.scan("x").replace(".x", ".*")
        respond = endpoint_handler("scan", self.report, ScanReply, self._observe, _log)
        return Endpoint(name="scan", subject=subject, handler=respond, concurrency=CONCURRENCY)

    async def report(self, message: Message) -> ScanReply:
        """Store the report of a message. The reply has the digest of the stored report."""
        return ScanReply(digest=await self._report(message))

    async def _report(self, message: Message) -> str:
        """Check and store the report, and return the digest of the stored form. Raises WritError; then the earlier
        report stays.
        """
        scanner, key = subjects.parse_scan(message.subject), sender_key(message)
        snapshot = await self._sources.refresh()
        principal = snapshot.principal(scanner, key)
        if principal.kind != "service" or SCANNER not in principal.roles:
            raise Denied(f"{scanner} is not a service with the role {SCANNER}")
        content_type = message.headers.get("Content-Type", wire.JSON)
        report = wire.decode(message.data, ScanReport, content_type=content_type, limit=MOST_REPORT_BYTES)
        snapshot.target(report.target)
        now = self._clock()
        if report.at > now + AHEAD_SECONDS:
            raise Invalid(f"a report of {report.at - now:.0f} s from now")
        return await self._store(StoredReport(scanner=scanner, key=key, received_at=now, report=report))

    async def _store(self, stored: StoredReport) -> str:
        """Store the report unless a later one exists."""
        subject, data = subjects.scanned(stored.scanner, stored.report.target), wire.encode(sign(self._key, stored))
        digest = plain_digest(data)
        for _ in range(ATTEMPTS):
            there = await self._stored.last(subject)
            known = self._open(there) if there is not None else None
            if known is not None and known.report.at > stored.report.at:
                raise Conflict(f"a later report of {stored.scanner} on {stored.report.target} is stored")
            expected = there.sequence if there else 0
            entry = Entry(subject=subject, data=data, event_id=digest, filter=subject, expected=expected)
            try:
                await self._stored.append(entry)
            except Conflict:
                continue
            _log.info("scan.stored", scanner=stored.scanner, target=stored.report.target, digest=digest)
            return digest
        raise Conflict(f"{ATTEMPTS} others reported on {stored.report.target} as {stored.scanner} first")

    async def add(self, known: KnownFacts, target: str, scanners: Iterable[str]) -> KnownFacts:
        """Return the facts with the stored reports of these scanners on the target. Raises errors of the bus."""
        reports, named = dict[str, Report](), list(known.named)
        for scanner in scanners:
            record = await self._stored.last(subjects.scanned(scanner, target))
            if record is None:
                continue
            stored = self._open(record)
            if stored is None:
                continue
            reports[scanner] = _as_report(stored)
            fact = Fact(kind="scan", source=scanner, at=reports[scanner].at, digest=plain_digest(record.data))
            named.append(fact)
        facts = Facts(known.facts.listings, MappingProxyType(reports))
        return structs.replace(known, facts=facts, named=named)

    def _open(self, record: Record) -> StoredReport | None:
        """Return the report if policy signed it for this subject. Otherwise return None, which is recorded once."""
        try:
            signed = wire.decode(record.data, Signed, limit=MOST_STORED_BYTES)
            stored = open_signed(signed, StoredReport, self._keys(record.time), self._key.installation, unbound=True)
            if subjects.scanned(stored.scanner, stored.report.target) != record.subject:
                raise Untrusted(f"it is the one of {stored.scanner} on {stored.report.target}")
        except (Invalid, Untrusted) as error:
            self._refuse(record, str(error))
            return None
        return stored

    def _refuse(self, record: Record, why: str) -> None:
        digest = plain_digest(record.data)
        if digest in self._reported:
            return
        if len(self._reported) >= MOST_TOLD:
            self._reported.clear()
        self._reported.add(digest)
        detail = f"the report stored as {record.subject} is not valid: {why}"
        _log.error("scan.refused", reason=detail, effect="no report counts until the scanner reports again")
        self._security.report("report_refused", detail, None, None)


def _as_report(stored: StoredReport) -> Report:
    findings = tuple(Finding(one.id, one.severity, one.title, one.found_at) for one in stored.report.findings)
    at = min(stored.report.at, stored.received_at)  # no report is younger than its arrival
    return Report(stored.scanner, stored.report.target, at, findings)
