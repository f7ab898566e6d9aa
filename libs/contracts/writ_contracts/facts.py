"""What decisions need to know besides the request: listings of a target, and what scanners found on it.

A listing is signed by an agent of the target's own pool under a look that policy signed for it; a report of a scanner
comes on a subject that the NATS server lets nobody else publish on. What is missing or too old is never taken for yes.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.ids import Digest, InstanceId, OperationId, PoolId, PrincipalId, TargetId
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed

LISTING_SOURCES = (
    "list_services",
    "list_containers",
    "list_stacks",
    "list_packages",
    "list_backups",
    "list_snapshots",
    "list_ports",
    "list_storages",
    "list_file_roots",
)
"""What a policy can name as `allowlist_source`."""
OTHER_NAMES = "list_other_names"
"""What else the very thing is called that a request names; asked for by policy itself, and by no file."""
MOST_NAMES, MOST_LISTED_BYTES = 5_000, 131_072
"""Of one listing: how many names, and how much room they take as JSON."""
MOST_FINDINGS, MOST_REPORT_BYTES = 1_000, 262_144

Source = Annotated[str, Meta(pattern=r"^list_[a-z_]{1,40}(?!\n)$", description="a kind of listing")]
ListedName = Annotated[str, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=500)]


class Listing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.listing.v1"):
    """What an agent saw on a target: all names of this kind, or (`failure`) why it could not list them.

    `look_digest` is of policy's signed look that it was made under, so it is younger than that look. `taken_at` is the
    agent's own clock (Unix seconds), for people.
    """

    operation_id: OperationId
    source: Source
    target: TargetId
    pool: PoolId
    instance: InstanceId
    look_digest: Digest
    taken_at: float
    names: Annotated[list[ListedName], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    failure: Text = ""


class Gathered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of policy's `look`: signed listings, and in `failure` why the others that it asked for are missing."""

    look: Signed
    listings: Annotated[list[Signed], Meta(max_length=len(LISTING_SOURCES) + 1)] = field(default_factory=list)
    failure: Text = ""


class Fact(Struct, frozen=True, kw_only=True):
    """Something that a decision was made on: a listing or a scanner's report, by the SHA-256 of its exact bytes.

    `at` (Unix seconds, policy's clock for listings, the scanner's for reports) gives its age. `digest` is None where
    nothing came, and `failure` says why.
    """

    kind: Literal["listing", "scan"]
    source: str
    at: float
    digest: Digest | None = None
    failure: Text = ""


class Finding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that a scanner found. `found_at`: Unix seconds."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    severity: Literal["low", "medium", "high", "critical"]
    found_at: float
    title: Text = ""


class ScanReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.scan.<scanner>`: all that the scanner finds on one target at `at` (Unix seconds); none is good news.

    It takes the place of that scanner's earlier report of the target.
    """

    target: TargetId
    at: float
    findings: Annotated[list[Finding], Meta(max_length=MOST_FINDINGS)] = field(default_factory=list)


class StoredReport(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.report.v1"
):
    """A report as policy keeps it, signed, by scanner and target: with who sent it, and when it came."""

    scanner: PrincipalId
    key: str
    """The NATS user that the server says sent it."""
    received_at: float
    report: ScanReport


class Reported(Struct, frozen=True, kw_only=True):
    """The answer to a report: stored, with the digest by which decisions name it; or why not, and the earlier stays."""

    digest: Digest | None = None
    error: Failure | None = None
