"""What is known of a target besides its inventory entry: what it lists itself, and what scanners found on it.

Facts are gathered by others and given to a decision; each says when it was so. What is missing, failed or too old
can't be judged: the rule that asks for it errs.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

Severity = Literal["low", "medium", "high", "critical"]


class TargetListing(Struct, frozen=True):
    """What the request's own target listed at `at` (Unix seconds); `failure`: it could not, and why."""

    source: str
    names: frozenset[str]
    at: float
    failure: str = ""


class ScanFinding(Struct, frozen=True):
    """One thing that a scanner found, since `found_at` (Unix seconds)."""

    id: str
    severity: Severity
    title: str = ""
    found_at: float = 0.0


class ScanReport(Struct, frozen=True):
    """All that a scanner has to say of a target as of `at`; it replaces the scanner's earlier one of that target."""

    scanner: str
    target: str
    at: float
    findings: tuple[ScanFinding, ...] = ()


class Facts(Struct, frozen=True):
    """Of the request's own target: listings by source, reports by scanner."""

    listings: Mapping[str, TargetListing]
    scans: Mapping[str, ScanReport]


NO_FACTS = Facts(MappingProxyType({}), MappingProxyType({}))


class Need(Struct, frozen=True):
    """A listing that a decision wants and was not given. One that was given, failed or too old, is not asked again."""

    source: str
