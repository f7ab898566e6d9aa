"""Facts for a decision besides files and control events: listings signed by the target's agents.

A listing counts if an agent of the target's own pool signed it under policy's read grant for this operation. Its age is
counted from that grant, by the journal's clock: the agent read later than that, however its own clock is set.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct, field

from writ_contracts.decisions import ReadGrant, Subject
from writ_contracts.errors import Untrusted
from writ_contracts.policy.facts import Fact, GatheredListings, Listing
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.facts import TargetListing as Listed
from writ_trust.statements import digest, open_signed

CLOCK_SECONDS = 5.0
"""The largest difference between two replicas' measures of the journal's time. One replica signs the grant, and another
may check the listing.
"""
UNANSWERED = "no agent answered"


class KnownFacts(Struct, frozen=True, kw_only=True):
    """Facts as the engine takes them, and their digests for the decision."""

    facts: Facts = NO_FACTS
    named: list[Fact] = field(default_factory=list)
    about: str = ""
    """The object whose other names are listed."""


def listed(
    gathered: GatheredListings | None, subject: Subject, snapshot: PolicySnapshot, keys: Collection[str], now: float
) -> KnownFacts:
    """Return the gathered facts of this subject. Raises Untrusted (`forged_listing`) if they are of another one."""
    if gathered is None:
        return KnownFacts()
    grant = _open_grant(gathered, subject, snapshot, keys)
    known_listings = dict(_listings(gathered, grant, snapshot))
    stale = _stale(grant, now)
    listings = {
        source: _as_listed(source, grant, known_listings.get(source), stale or gathered.failure or UNANSWERED, stale)
        for source in grant.sources
    }
    named = [
        Fact(
            kind="listing",
            source=source,
            at=grant.issued_at,
            digest=known_listings[source][1] if source in known_listings else None,
            failure=one.failure,
        )
        for source, one in listings.items()
    ]
    return KnownFacts(facts=Facts(listings, NO_FACTS.scans), named=named, about=grant.named)


def _open_grant(
    gathered: GatheredListings, subject: Subject, snapshot: PolicySnapshot, keys: Collection[str]
) -> ReadGrant:
    target = snapshot.target(subject.target)
    try:
        grant = open_signed(gathered.look, ReadGrant, keys, snapshot.installation)
    except Untrusted as error:
        raise Untrusted(f"a listing under a read grant not signed by policy: {error}", code="forged_listing") from error
    signed_for = (grant.operation_id, grant.operation, grant.target.id)
    if signed_for != (subject.operation_id, subject.operation, target.id) or "listing" not in grant.actions:
        raise Untrusted(f"a listing for {grant.operation_id} on {grant.target.id}", code="forged_listing")
    return grant


def _listings(
    gathered: GatheredListings, grant: ReadGrant, snapshot: PolicySnapshot
) -> Iterator[tuple[str, tuple[Listing, str]]]:
    """Yield the listings by source, with digests. Raises Untrusted."""
    pool = snapshot.target(grant.target.id).pool
    visited = set[str]()
    for signed in gathered.listings:
        try:
            listing = open_signed(signed, Listing, snapshot.agents.get(pool, frozenset()), snapshot.installation)
        except Untrusted as error:
            raise Untrusted(f"the listing is not one of pool {pool}: {error}", code="forged_listing") from error
        signed_for = (listing.look_digest, listing.operation_id, listing.target, listing.pool)
        if (
            signed_for != (digest(gathered.look), grant.operation_id, grant.target.id, pool)
            or listing.source in visited
        ):
            raise Untrusted(f"the listing of {listing.source} was made for other parameters", code="forged_listing")
        if listing.source not in grant.sources:
            raise Untrusted(f"the listing of {listing.source} was not requested", code="forged_listing")
        visited.add(listing.source)
        yield listing.source, (listing, digest(signed))


def _stale(grant: ReadGrant, now: float) -> str:
    """Return why listings under this grant no longer count, or ""."""
    if now > grant.expires_at:
        return f"it was requested {now - grant.issued_at:.0f} s ago, and not used in time"
    if grant.issued_at > now + CLOCK_SECONDS:
        ahead = grant.issued_at - now
        return f"it was requested {ahead:.0f} s in the future: the clocks of policy's replicas differ"
    return ""


def _as_listed(
    source: str, grant: ReadGrant, read_listing: tuple[Listing, str] | None, missing: str, stale: str
) -> Listed:
    if read_listing is None or stale:
        return Listed(source, frozenset(), grant.issued_at, missing)
    listing, _ = read_listing
    return Listed(source, frozenset(listing.names), grant.issued_at, listing.failure)
