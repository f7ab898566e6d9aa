"""Facts for decisions besides the request: listings of a target, and scanners' findings on it.

A listing is signed by an agent of the target's own pool, under a read grant signed by policy. A scanner's
report comes on a subject on which the NATS server lets nobody else publish. A missing or outdated fact never counts as
yes.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.bounds import Seconds
from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest, InstanceId, OperationId, PoolId, PrincipalId, TargetId
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

LISTING_SOURCES = (
    "list_services",
    "list_containers",
    "list_guests",
    "list_stacks",
    "list_images",
    "list_volumes",
    "list_packages",
    "list_backups",
    "list_snapshots",
    "list_ports",
    "list_storages",
    "list_file_roots",
)
"""The values of `allowlist_source` in a policy."""
OTHER_NAMES = "list_other_names"
"""The other names of the thing that a request names; policy itself needs them, no file does."""
MOST_NAMES, MOST_LISTED_BYTES = 5_000, 131_072
"""Limits of one listing: the number of names, and their size as JSON."""
MOST_FINDINGS, MOST_REPORT_BYTES = 1_000, 262_144

Source = Annotated[str, Meta(pattern=r"^list_[a-z_]{1,40}(?!\n)$", description="a kind of listing")]
ListedName = Annotated[str, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=500)]


class Listing(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.listing.v1"
):
    """An agent's listing of a target: all names of this kind, or the reason why it could not list them (`failure`).

    `look_digest` is the digest of the read grant, so the listing is younger than the grant. `taken_at` is the agent's
    own clock (Unix seconds), for people.
    """

    operation_id: OperationId
    source: Source
    target: TargetId
    pool: PoolId
    instance: InstanceId
    look_digest: Digest
    taken_at: Seconds
    names: Annotated[list[ListedName], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    failure: Text = ""


class GatheredListings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The results of policy's `look`: signed listings, and in `failure` the reason why others are missing."""

    look: Signed
    listings: Annotated[list[Signed], Meta(max_length=len(LISTING_SOURCES) + 1)] = field(default_factory=list)
    failure: Text = ""


class Fact(Struct, frozen=True, kw_only=True):
    """A basis of a decision: a listing or a scanner's report, by the SHA-256 of its exact bytes.

    `at` (Unix seconds, policy's clock for listings, the scanner's for reports) gives its age. `digest` is None where
    nothing came; `failure` is the reason.
    """

    kind: Extensible[Literal["listing", "scan"]]
    source: str
    at: float
    digest: Digest | None = None
    failure: Text = ""


class Finding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One finding of a scanner. `found_at`: Unix seconds."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    severity: Literal["low", "medium", "high", "critical"]
    found_at: Seconds
    title: Text = ""


class ScanReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.scan.<scanner>`: all findings of the scanner on one target at `at` (Unix seconds), possibly none.

    It replaces the scanner's earlier report of the target.
    """

    target: TargetId
    at: Seconds
    findings: Annotated[list[Finding], Meta(max_length=MOST_FINDINGS)] = field(default_factory=list)


class StoredReport(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.report.v1"
):
    """A report as policy stores it, signed, by scanner and target: with its sender and the time of receipt."""

    scanner: PrincipalId
    key: str
    """The NATS user that sent it, as the server names it."""
    received_at: float
    report: ScanReport


class ScanReply(Struct, frozen=True, kw_only=True):
    """The reply to a report: stored, with the digest by which decisions name it; or an error, and the earlier one
    stays.
    """

    digest: Digest | None = None
    error: Failure | None = None
