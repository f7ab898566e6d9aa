"""What an analysis supposes that targets list and scanners report: each way that makes a difference to some rule.

A list has the values of the request, or nothing; a scanner has not reported, or found nothing, or one thing of some
severity; all of it fresh. A list that nobody asked for is no case of its own: executors ask.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from msgspec import Struct

from writ_rules.engine.case import DecisionRequest
from writ_rules.engine.conditions import SEVERITIES, Condition, Parameter, Scan
from writ_rules.engine.facts import NO_FACTS, Facts, ScanFinding, ScanReport, Severity, TargetListing
from writ_rules.engine.listings import SOURCES
from writ_rules.engine.rules import Rule

MOST = 64
UNREPORTED, CLEAN = "unreported", "clean"
FINDING = "a-finding"


class AssumedFacts(Struct, frozen=True, kw_only=True):
    """`listed`: whether each source lists what the request names. `scans`: the worst finding of each scanner."""

    listed: Mapping[str, bool] = {}
    scans: Mapping[str, str] = {}


NOTHING = AssumedFacts()


def suppositions(
    rules: Sequence[Rule], operation: str, answers: Callable[[AssumedFacts], object]
) -> tuple[list[AssumedFacts], int]:
    """One for each combination of `answers` of the rules' scans, with each list full and empty; no more than MOST, and
    of how many at least.
    """
    asked = [condition for rule in rules for condition in rule.conditions[operation]]
    sources = sorted({source for source in _sources(asked) if source in SOURCES})
    scanners = sorted({one.scanner for one in asked if isinstance(one, Scan)})
    found: dict[object, AssumedFacts] = {}
    listings = product((True, False), repeat=len(sources))
    reports = list(product((UNREPORTED, CLEAN, *SEVERITIES), repeat=len(scanners)))
    states = 2 ** len(sources) * len(reports)
    for listed, worst in islice(product(listings, reports), MOST * 8):
        made = AssumedFacts(
            listed=dict(zip(sources, listed, strict=True)), scans=dict(zip(scanners, worst, strict=True))
        )
        found.setdefault((listed, answers(made)), made)
    return list(found.values())[:MOST], states if states > MOST * 8 else len(found)


def facts(supposed: AssumedFacts, request: DecisionRequest, defaults: Iterable[Any] = ()) -> Facts:
    """As the engine takes them. `defaults`: what rules may fill in, which is listed with the request's own values."""
    if supposed == NOTHING:
        return NO_FACTS
    names = frozenset(text for value in (*request.effective.values(), *defaults) for text in _texts(value))
    listings = {
        source: TargetListing(source, names if full else frozenset(), request.at)
        for source, full in supposed.listed.items()
    }
    return Facts(listings, scans(supposed, request.target.id, request.at))


def scans(supposed: AssumedFacts, target: str, at: float) -> dict[str, ScanReport]:
    """The reports alone."""
    return {
        scanner: ScanReport(scanner, target, at, tuple(_findings(worst, at)))
        for scanner, worst in supposed.scans.items()
        if worst != UNREPORTED
    }


def told(known: Facts) -> dict[str, Any]:
    """As `writ policy eval` reads them; empty for none."""
    listings = {source: sorted(listing.names) for source, listing in known.listings.items()}
    reports = {
        scanner: [{"id": finding.id, "severity": finding.severity} for finding in report.findings]
        for scanner, report in known.scans.items()
    }
    return {key: value for key, value in (("listings", listings), ("scans", reports)) if value}


def _findings(worst: str, at: float) -> Iterator[ScanFinding]:
    severity: Severity
    for severity in SEVERITIES:
        if severity == worst:
            yield ScanFinding(FINDING, severity, "", at)


def _sources(asked: Iterable[Condition]) -> Iterator[str]:
    for condition in asked:
        if isinstance(condition, Parameter) and condition.listed is not None:
            yield condition.listed.source


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield str(value)
