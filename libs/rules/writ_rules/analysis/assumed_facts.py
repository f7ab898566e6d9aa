"""Facts that an analysis assumes about targets and scanners: each combination that makes a difference to some rule.

A list contains the values of the request, or nothing. A scanner has not reported, or found nothing, or one finding of
some severity. All facts are fresh. A missing list is not tried, since executors always fetch the lists that a decision
needs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from msgspec import Struct

from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.clauses.conditions import SEVERITIES, Condition, ParameterCondition, ScanCondition
from writ_rules.engine.clauses.listings import SOURCES
from writ_rules.engine.facts import NO_FACTS, Facts, ScanFinding, Severity, TargetListing, TargetScan
from writ_rules.engine.rules.rule import Rule

MOST = 64
UNREPORTED, CLEAN = "unreported", "clean"
FINDING = "a-finding"


class AssumedFacts(Struct, frozen=True, kw_only=True):
    """`listed`: true for each source which lists the values of the request. `scans`: the worst finding of each
    scanner.
    """

    listed: Mapping[str, bool] = {}
    scans: Mapping[str, str] = {}


NOTHING = AssumedFacts()


def suppositions(
    rules: Sequence[Rule], operation: str, answers: Callable[[AssumedFacts], object]
) -> tuple[list[AssumedFacts], int]:
    """Return one assumption for each combination of results of the rules' scans, with each list full and empty.

    At most MOST are returned, with the number of combinations, or a lower bound of it.
    """
    conditions = [condition for rule in rules for condition in rule.conditions[operation]]
    sources = sorted({source for source in _sources(conditions) if source in SOURCES})
    scanners = sorted({one.scanner for one in conditions if isinstance(one, ScanCondition)})
    distinct: dict[object, AssumedFacts] = {}
    listings = product((True, False), repeat=len(sources))
    reports = list(product((UNREPORTED, CLEAN, *SEVERITIES), repeat=len(scanners)))
    states = 2 ** len(sources) * len(reports)
    for listed, worst in islice(product(listings, reports), MOST * 8):
        made = AssumedFacts(
            listed=dict(zip(sources, listed, strict=True)), scans=dict(zip(scanners, worst, strict=True))
        )
        distinct.setdefault((listed, answers(made)), made)
    return list(distinct.values())[:MOST], states if states > MOST * 8 else len(distinct)


def facts(assumed: AssumedFacts, request: DecisionRequest, defaults: Iterable[Any] = ()) -> Facts:
    """Return the assumptions as facts for the engine. `defaults`: values rules may fill in; they are listed with the
    request's own values.
    """
    if assumed == NOTHING:
        return NO_FACTS
    names = frozenset(text for value in (*request.effective.values(), *defaults) for text in _texts(value))
    listings = {
        source: TargetListing(source, names if full else frozenset(), request.at)
        for source, full in assumed.listed.items()
    }
    return Facts(listings, scans(assumed, request.target.id, request.at))


def scans(assumed: AssumedFacts, target: str, at: float) -> dict[str, TargetScan]:
    return {
        scanner: TargetScan(scanner, target, at, tuple(_findings(worst, at)))
        for scanner, worst in assumed.scans.items()
        if worst != UNREPORTED
    }


def supplied_form(known: Facts) -> dict[str, Any]:
    """Return the facts in the form read by `writ policy eval`; empty without facts."""
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


def _sources(conditions: Iterable[Condition]) -> Iterator[str]:
    for condition in conditions:
        if isinstance(condition, ParameterCondition) and condition.listed is not None:
            yield condition.listed.source


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield str(value)
