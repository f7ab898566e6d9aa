"""Aliases of a unit: a rule that denies an alias denies the unit, at the latest at its start."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import LOOK_KEY, RULES, Asking

from writ_contracts.decisions import DecideReply, Decision, GrantReply, ReadGrant, Subject
from writ_contracts.policy.facts import OTHER_NAMES, GatheredListings, Listing
from writ_contracts.signing import Signed
from writ_policy.decisions.rulings import MOST_OTHER_NAMES
from writ_trust.statements import digest, read, sign

SSHD: dict[str, Any] = {"service_name": {"pattern": "sshd"}}
DENY: dict[str, Any] = {
    "name": "no-ssh",
    "operations": ["service_restart", "service_status"],
    "allowed": False,
    "parameter_constraints": SSHD,
}


async def started(
    asking: Asking, names: Any, *, service: str = "ssh", operation: str = "service_restart"
) -> GrantReply:
    """Return the answer to a claim whose baseline has these aliases."""
    subject = asking.subject(operation, parameters={"service_name": service})
    baseline = {} if names is None else {"active_state": "active", "names": names}
    return await asking.granted(subject, asking.claim(subject, baseline=baseline))


def decision(granted: GrantReply) -> Decision:
    assert granted.decision is not None, granted
    return read(granted.decision, Decision)


async def test_a_deny_of_an_alias_denies_the_unit(asking: Asking) -> None:
    asking.files.policy(*RULES, DENY)
    granted = await started(asking, ["secure-shell", "sshd"])
    reply = decision(granted)
    assert granted.grant is None
    assert (reply.effect, reply.code, reply.rules) == ("deny", "denied", ["no-ssh"])
    assert reply.reason.startswith("by its other name sshd: ")
    assert [entry.rule for entry in reply.trace if entry.matched and entry.effect == "deny"] == ["no-ssh"]


@pytest.mark.parametrize("names", [None, [], ["secure-shell"]])
async def test_operation_starts_if_the_unit_has_no_such_alias(asking: Asking, names: list[str] | None) -> None:
    asking.files.policy(*RULES, DENY)
    assert (await started(asking, names)).grant is not None


async def test_rule_that_denies_all_but_a_unit_denies_its_alias(asking: Asking) -> None:
    """This is the stricter reading; an author who means the unit names both."""
    but = {**DENY, "parameter_constraints": {"service_name": {"denied_values": ["ssh"]}}}
    asking.files.policy(*RULES, but)
    assert (await started(asking, ["sshd"])).grant is None
    assert (await started(asking, [])).grant is not None
    asking.files.policy(*RULES, {**but, "parameter_constraints": {"service_name": {"denied_values": ["ssh", "sshd"]}}})
    assert (await started(asking, ["sshd"])).grant is not None


async def test_a_rule_that_cannot_be_judged_by_an_alias_denies(asking: Asking) -> None:
    unjudged = {**DENY, "target_attributes": {"tier": "gold"}}
    asking.files.policy(*RULES, unjudged)
    reply = decision(await started(asking, ["sshd"]))
    assert (reply.effect, reply.code, reply.rules) == ("deny", "rule_error", ["no-ssh"])


async def test_unit_needs_permission_by_its_own_name_alone(asking: Asking) -> None:
    asking.files.policy({**RULES[0], "parameter_constraints": {"service_name": {"allowed_values": ["ssh"]}}})
    assert (await started(asking, ["sshd"])).grant is not None
    reply = decision(await started(asking, ["ssh"], service="sshd"))
    assert (reply.effect, reply.code) == ("deny", "no_rule")


@pytest.mark.parametrize("names", ["sshd", {"sshd": 1}, 7])
async def test_invalid_other_names_of_a_unit_are_ignored(asking: Asking, names: Any) -> None:
    asking.files.policy(*RULES, DENY)
    assert (await started(asking, names)).grant is not None


async def test_more_names_than_are_judged_deny(asking: Asking) -> None:
    asking.files.policy(*RULES, DENY)
    few = [f"name-{number}" for number in range(MOST_OTHER_NAMES)]
    assert (await started(asking, few)).grant is not None
    granted = await started(asking, [*few, "one-more"])
    reply = decision(granted)
    assert (granted.grant, reply.code) == (None, "rule_error")
    assert reply.reason == "the agent reports 65 other names of it; at most 64 are allowed"


def listing(asking: Asking, look: Signed, names: list[str], failure: str = "") -> GatheredListings:
    """Return an agent's answer to this read grant."""
    observed = read(look, ReadGrant)
    reported = Listing(
        operation_id=observed.operation_id,
        source=OTHER_NAMES,
        target=observed.target.id,
        pool=observed.pool,
        instance="agent-a-1",
        look_digest=digest(look),
        taken_at=asking.clock.now,
        names=names,
        failure=failure,
    )
    return GatheredListings(look=look, listings=[sign(asking.files.keys["agent-a"], reported)])


async def decided(asking: Asking, subject: Subject, names: list[str], failure: str = "") -> Decision:
    """Return the decision, which gets that listing on request."""
    first = await asking.decide(subject, look_key=LOOK_KEY)
    if not first.needs:
        return decision_in(first)
    assert first.look is not None
    look = read(first.look, ReadGrant)
    assert (first.needs, look.sources, look.actions) == ([OTHER_NAMES], [OTHER_NAMES], ["listing"])
    assert look.named == subject.parameters["service_name"]
    assert decision_in(first).code == "facts_needed"
    facts = listing(asking, first.look, names, failure)
    return decision_in(await asking.decide(subject, look_key=LOOK_KEY, facts=facts))


def decision_in(answer: DecideReply | GrantReply) -> Decision:
    assert answer.decision is not None, answer
    return read(answer.decision, Decision)


@pytest.mark.parametrize("how", ["simulate", "dry_run"])
@pytest.mark.parametrize("operation", ["service_restart", "service_status"])
async def test_dry_run_is_judged_by_the_names_that_the_agents_list(asking: Asking, how: str, operation: str) -> None:
    asking.files.policy(*RULES, DENY)
    dry = how == "dry_run"
    subject = asking.subject(operation, parameters={"service_name": "ssh"}, simulate=not dry, dry_run=dry)
    reply = await decided(asking, subject, ["secure-shell", "sshd"])
    assert (reply.effect, reply.code, reply.rules) == ("deny", "denied", ["no-ssh"])
    assert reply.reason.startswith("by its other name sshd: ")
    assert [(fact.source, bool(fact.digest)) for fact in reply.facts] == [(OTHER_NAMES, True)]
    assert (await decided(asking, subject, ["secure-shell"])).effect == "allow"
    unknown = await decided(asking, subject, [], "the host is away")
    assert (unknown.effect, unknown.code) == ("deny", "rule_error")
    assert unknown.reason.endswith("the other names of ssh are not known: the host is away")


async def test_names_are_not_listed_if_no_deny_depends_on_them(asking: Asking) -> None:
    subject = asking.subject("service_status", parameters={"service_name": "ssh"}, simulate=True)
    others = {**DENY, "operations": ["service_stop"]}
    elsewhere = {**DENY, "target_roles": ["production"]}
    for rules in ([], [others], [elsewhere], [{**DENY, "allowed": True}], [{**DENY, "parameter_constraints": {}}]):
        asking.files.policy(*RULES, *rules)
        answer = await asking.decide(subject, look_key=LOOK_KEY)
        assert answer.needs == []


async def test_gateway_rule_needs_the_names_of_units_behind_it(asking: Asking) -> None:
    asking.files.policy(*RULES, role_policies={"gateway": [{**DENY, "inherit": True}]})
    target = {"role": "development", "backend": "local", "agent": "a"}
    behind = [{"id": "gate", **target, "role": "gateway"}, {"id": "web-a", **target, "gateway": "gate"}]
    asking.files.write("inventory", {"targets": behind})
    subject = asking.subject("service_status", parameters={"service_name": "ssh"}, simulate=True)
    assert (await decided(asking, subject, ["sshd"])).rules == ["no-ssh"]
    assert (await decided(asking, subject, [])).effect == "allow"


@pytest.mark.parametrize(("names", "granted"), [(["sshd"], False), (["secure-shell"], True), ([], True)])
async def test_a_read_starts_only_under_the_names_that_were_listed(
    asking: Asking, names: list[str], granted: bool
) -> None:
    asking.files.policy(*RULES, DENY)
    subject = asking.subject("service_status", parameters={"service_name": "ssh"})
    assert (await asking.decide(subject, look_key=LOOK_KEY)).needs == []  # it is judged as it starts
    claim = asking.claim(subject)
    first = await asking.granted(subject, claim, look_key=LOOK_KEY)
    assert (first.grant, first.needs) == (None, [OTHER_NAMES])
    assert first.look is not None
    answer = await asking.granted(subject, claim, look_key=LOOK_KEY, facts=listing(asking, first.look, names))
    assert (answer.grant is not None) is granted
    assert answer.needs == []


async def test_names_in_a_claim_do_not_count_for_a_read(asking: Asking) -> None:
    asking.files.policy(*RULES, DENY)
    granted = await started(asking, [], operation="service_status")
    assert (granted.grant, decision_in(granted).code) == (None, "facts_needed")


async def test_the_names_of_one_unit_are_not_those_of_another(asking: Asking) -> None:
    """The sender of a listing names its operation, so its subject must match the question."""
    asking.files.policy(*RULES, DENY)
    subject = asking.subject("service_status", parameters={"service_name": "nginx"})
    first = await asking.granted(subject, look_key=LOOK_KEY)
    assert first.look is not None
    harmless = listing(asking, first.look, [])
    other = structs.replace(subject, parameters={"service_name": "ssh"})
    answer = await asking.granted(other, look_key=LOOK_KEY, facts=harmless)
    assert (answer.grant, answer.error and answer.error.code) == (None, "forged_listing")
    assert (await asking.granted(subject, look_key=LOOK_KEY, facts=harmless)).grant is not None
