"""Facts about a target besides its inventory entry: its own listings, and scanners' findings.

Callers gather the facts for a decision; each has its time. A missing, failed or outdated fact cannot be judged, and a
rule that needs it errs.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

Severity = Literal["low", "medium", "high", "critical"]


class TargetListing(Struct, frozen=True):
    """A listing of the request's own target at `at` (Unix seconds). `failure`: the reason why the target could not
    list.
    """

    source: str
    names: frozenset[str]
    at: float
    failure: str = ""


class ScanFinding(Struct, frozen=True):
    """One finding of a scanner, since `found_at` (Unix seconds)."""

    id: str
    severity: Severity
    title: str = ""
    found_at: float = 0.0


class TargetScan(Struct, frozen=True):
    """A scanner's complete report of a target as of `at`; it replaces the scanner's earlier one of this target."""

    scanner: str
    target: str
    at: float
    findings: tuple[ScanFinding, ...] = ()


class Facts(Struct, frozen=True):
    """Facts of the request's own target: listings by source, reports by scanner."""

    listings: Mapping[str, TargetListing]
    scans: Mapping[str, TargetScan]


NO_FACTS = Facts(MappingProxyType({}), MappingProxyType({}))


class NeededListing(Struct, frozen=True):
    """A listing needed and missing for a decision. A failed or outdated one is not needed again."""

    source: str
