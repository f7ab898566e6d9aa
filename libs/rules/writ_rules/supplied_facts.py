"""Facts supplied by people and programs with a question, converted to the engine's facts.

    listings: {list_services: [nginx, ssh], list_ports: {names: ["80"], age: 5m}, list_stacks: {failure: "no answer"}}
    scans: {trivy: [{id: CVE-2026-1, severity: high}], lynis: {age: 2d, findings: []}}

Ages are durations before the instant of the question; without one the fact is fresh.
"""

from writ_contracts.policy.questions import SuppliedFacts, SuppliedFinding, SuppliedListing, SuppliedReport
from writ_rules.engine.facts import Facts, ScanFinding, TargetListing, TargetScan
from writ_rules.engine.policy_file.times import duration


def facts_of(supplied: SuppliedFacts, target: str, at: float) -> Facts:
    """Return the facts. Raises ValueError for a bad age."""
    listings = {source: _listing(source, each, at) for source, each in supplied.listings.items()}
    return Facts(listings, {scanner: _report(scanner, target, each, at) for scanner, each in supplied.scans.items()})


def _listing(source: str, supplied: list[str] | SuppliedListing, at: float) -> TargetListing:
    if isinstance(supplied, list):
        return TargetListing(source, frozenset(supplied), at)
    return TargetListing(source, frozenset(supplied.names), at - _seconds(supplied.age), supplied.failure)


def _report(scanner: str, target: str, supplied: list[SuppliedFinding] | SuppliedReport, at: float) -> TargetScan:
    report = SuppliedReport(findings=supplied) if isinstance(supplied, list) else supplied
    when = at - _seconds(report.age)
    findings = tuple(ScanFinding(one.id, one.severity, one.title, when) for one in report.findings)
    return TargetScan(scanner, target, when, findings)


def _seconds(age: str | None) -> int:
    return 0 if age is None else duration(age)
