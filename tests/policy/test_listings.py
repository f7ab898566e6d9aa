"""Policy accepts a listing only from the target's own agents, for this operation, while it is fresh."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import LOOK_KEY, Asking

from writ_contracts.decisions import Decision, ReadGrant, Subject
from writ_contracts.inventory import Target
from writ_contracts.policy.facts import GatheredListings, Listing
from writ_contracts.signing import Signed
from writ_policy.decisions.facts import CLOCK_SECONDS
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, read, sign


def look(asking: Asking, subject: Subject, *, by: str = "policy", **changed: Any) -> Signed:
    """Return a read grant for a listing, signed by policy."""
    fields: dict[str, Any] = {
        "operation_id": subject.operation_id,
        "operation": subject.operation,
        "target": Target(id=subject.target, role="development", backend="local", agent="a"),
        "pool": "a",
        "actions": ["listing"],
        "parameters_digest": keyed_digest(LOOK_KEY, {}),
        "policy": read(_decision(asking), Decision).policy,
        "expires_at": asking.clock.now + 60,
        "sources": ["list_services"],
        "issued_at": asking.clock.now,
    }
    return sign(asking.files.keys[by], ReadGrant(**{**fields, **changed}))


def listing(asking: Asking, subject: Subject, under: Signed, *, by: str = "agent-a", **changed: Any) -> Signed:
    """A listing as an agent of the target's pool signs one."""
    fields: dict[str, Any] = {
        "operation_id": subject.operation_id,
        "source": "list_services",
        "target": subject.target,
        "pool": "a",
        "instance": "i",
        "look_digest": digest(under),
        "taken_at": asking.clock.now,
        "names": ["nginx"],
    }
    return sign(asking.files.keys[by], Listing(**{**fields, **changed}))


_DECISIONS: dict[int, Signed] = {}


def _decision(asking: Asking) -> Signed:
    return _DECISIONS[id(asking)]


@pytest.fixture
async def ready(asking: Asking) -> Asking:
    """Return a service after one decision, so that read grants name a policy version."""
    decided = await asking.decide(asking.subject())
    assert decided.decision is not None
    _DECISIONS[id(asking)] = decided.decision
    return asking


async def test_a_decision_names_the_listing_that_it_was_made_on(ready: Asking) -> None:
    subject = ready.subject()
    under = look(ready, subject)
    signed = listing(ready, subject, under)
    decision = await ready.decision(subject, facts=GatheredListings(look=under, listings=[signed]))
    (fact,) = decision.facts
    assert (fact.kind, fact.source, fact.digest, fact.failure) == ("listing", "list_services", digest(signed), "")
    assert decision.at - fact.at == 0


FORGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "signed by an agent of another pool": ({}, {"by": "agent-b"}),
    "signed by nobody known": ({}, {"by": "stranger"}),
    "of another target": ({}, {"target": "web-b"}),
    "of another operation": ({}, {"operation_id": "b" * 26}),
    "of another pool": ({}, {"pool": "b"}),
    "under another look": ({}, {"look_digest": "0" * 64}),
    "of what nobody asked for": ({}, {"source": "list_ports"}),
    "under a look that an agent signed": ({"by": "agent-a"}, {}),
    "under a look for another operation": ({"operation_id": "b" * 26}, {}),
    "under a look for a preview": ({"actions": ["preview"]}, {}),
}


@pytest.mark.parametrize(("looks", "says"), FORGED.values(), ids=FORGED.keys())
async def test_policy_refuses_an_invalid_listing(ready: Asking, looks: dict[str, Any], says: dict[str, Any]) -> None:
    subject = ready.subject()
    under = look(ready, subject, **looks)
    facts = GatheredListings(look=under, listings=[listing(ready, subject, under, **says)])
    assert await ready.code(subject, facts=facts) == "forged_listing"


async def test_listing_for_an_earlier_operation_is_refused_for_a_later_one(ready: Asking) -> None:
    first, second = ready.subject(), ready.subject()
    under = look(ready, first)
    facts = GatheredListings(look=under, listings=[listing(ready, first, under)])
    assert await ready.code(first, facts=facts) == "allowed"
    assert await ready.code(second, facts=facts) == "forged_listing"


async def test_two_listings_of_one_source_are_refused(ready: Asking) -> None:
    subject = ready.subject()
    under = look(ready, subject)
    signed = listing(ready, subject, under)
    assert await ready.code(subject, facts=GatheredListings(look=under, listings=[signed, signed])) == "forged_listing"


async def test_the_age_is_counted_by_policys_clock_whatever_the_agents_says(ready: Asking) -> None:
    subject = ready.subject()
    under = look(ready, subject)
    signed = listing(ready, subject, under, taken_at=ready.clock.now + 1e9)
    ready.clock.now += 40
    decision = await ready.decision(subject, facts=GatheredListings(look=under, listings=[signed]))
    assert decision.at - decision.facts[0].at == 40


async def test_missing_listing_is_named_with_the_reason(ready: Asking) -> None:
    subject = ready.subject()
    under = look(ready, subject, sources=["list_ports", "list_services"])
    facts = GatheredListings(
        look=under, listings=[listing(ready, subject, under, names=[], failure="no bus")], failure="no agent answered"
    )
    ports, services = (await ready.decision(subject, facts=facts)).facts
    assert (ports.source, ports.digest, ports.failure) == ("list_ports", None, "no agent answered")
    assert services.digest is not None
    assert services.failure == "no bus"


@pytest.mark.parametrize(("later", "word"), [(61.0, "not used in time"), (-CLOCK_SECONDS - 1, "clocks")])
async def test_listing_under_an_old_or_future_grant_does_not_count(ready: Asking, later: float, word: str) -> None:
    subject = ready.subject()
    under = look(ready, subject)
    facts = GatheredListings(look=under, listings=[listing(ready, subject, under)])
    ready.clock.now += later
    (fact,) = (await ready.decision(subject, facts=facts)).facts
    assert word in fact.failure


async def test_listing_is_checked_in_the_same_way_at_a_claim(ready: Asking) -> None:
    subject = ready.subject()
    under = look(ready, subject)
    good = GatheredListings(look=under, listings=[listing(ready, subject, under)])
    forged = structs.replace(good, listings=[listing(ready, subject, under, by="agent-b")])
    refused = await ready.granted(subject, facts=forged)
    assert refused.error is not None
    assert refused.error.code == "forged_listing"
    granted = await ready.granted(subject, facts=good)
    assert granted.decision is not None
    assert len(read(granted.decision, Decision).facts) == 1
