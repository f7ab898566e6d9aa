"""Grants: bound to one claim of the right pool, with a decision made at that moment."""

from typing import Any

import pytest
from msgspec import Raw, structs
from tests.policy.replica import KEY, NONCE, RULES, Asking

from writ_contracts.decisions import Decision, Grant
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, open_signed, read


async def test_grant_names_all_that_it_permits(asking: Asking) -> None:
    subject = asking.subject()
    claim = asking.claim(subject)
    granted = await asking.granted(subject, claim)
    assert granted.decision is not None
    assert granted.grant is not None
    grant = open_signed(granted.grant, Grant, (asking.files.keys["policy"].public,), "")
    assert (grant.operation_id, grant.operation, grant.principal) == (subject.operation_id, "service_restart", "alice")
    assert (grant.pool, grant.instance, grant.nonce) == ("a", "one", NONCE)
    assert (grant.claim_digest, grant.decision_digest) == (digest(claim), digest(granted.decision))
    assert grant.parameters_digest == keyed_digest(KEY, granted.effective)
    assert grant.target.file_roots == ["/srv"]
    assert (grant.lifetime, grant.timeout, grant.granted_at) == (15.0, 60, asking.clock.now)


async def test_operation_timeout_of_the_rule_caps_the_grant(asking: Asking) -> None:
    asking.files.policy({**RULES[0], "operation_timeout": 20})
    assert (await asking.grant(asking.subject())).timeout == 20


async def test_a_default_of_a_rule_is_in_the_effective_parameters(asking: Asking) -> None:
    asking.files.policy({**RULES[0], "parameter_constraints": {"timeout": {"default": 33}}})
    subject = asking.subject()
    granted = await asking.granted(subject)
    assert granted.grant is not None
    grant = read(granted.grant, Grant)
    assert granted.effective == {"service_name": "nginx", "timeout": 33}
    assert (grant.timeout, grant.parameters_digest) == (33, keyed_digest(KEY, granted.effective))


@pytest.mark.parametrize(
    ("by", "changed"),
    [
        ("stranger", {}),
        ("agent-b", {}),
        ("agent-b", {"pool": "b"}),
        ("alice", {}),
        ("policy", {}),
        ("agent-a", {"pool": "b"}),
        ("agent-a", {"operation_id": "b" * 26}),
    ],
)
async def test_a_claim_of_another_key_pool_or_operation_is_forged(
    asking: Asking, by: str, changed: dict[str, Any]
) -> None:
    subject = asking.subject()
    granted = await asking.granted(subject, asking.claim(subject, by=by, **changed))
    assert granted.grant is None
    assert granted.error is not None
    assert (granted.error.code, granted.error.retry) == ("forged_claim", False)


async def test_a_claim_whose_signature_does_not_hold_is_forged(asking: Asking) -> None:
    subject = asking.subject()
    claim = asking.claim(subject)
    other = asking.claim(subject, instance="two")
    for bad in (
        structs.replace(claim, signature=other.signature),
        structs.replace(claim, signature="x"),
        structs.replace(claim, payload=Raw(b"{}")),
        structs.replace(claim, payload=asking.signed(subject).statement.payload),  # type: ignore[union-attr]
    ):
        granted = await asking.granted(subject, bad)
        assert granted.error is not None
        assert granted.error.code == "forged_claim"


async def test_claim_of_the_pool_that_the_target_has_left_is_stale_and_that_of_others_forged(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject)
    inventory = asking.files.path("inventory").read_text()
    asking.files.write("inventory", inventory.replace("agent: a", "agent: c", 1))
    granted = await asking.granted(subject, asking.claim(subject))
    assert granted.error is not None
    assert (granted.error.code, granted.error.retry) == ("stale", False)
    assert granted.error.message == "target web-a has moved from pool a to c since: request it again"
    for by, pool in (("agent-b", "b"), ("stranger", "a"), ("agent-a", "b")):
        forged = await asking.granted(subject, asking.claim(subject, by=by, pool=pool))
        assert forged.error is not None
        assert forged.error.code == "forged_claim"


async def test_claimant_is_checked_before_the_rules(asking: Asking) -> None:
    subject = asking.subject()
    asking.files.policy(RULES[1])
    granted = await asking.granted(subject, asking.claim(subject, by="stranger"))
    assert granted.error is not None
    assert (granted.error.code, granted.decision) == ("forged_claim", None)
    assert (await asking.granted(subject)).decision is not None


async def test_an_agent_is_known_from_the_moment_that_its_key_is_in_the_file(asking: Asking) -> None:
    subject = asking.subject()
    claim = asking.claim(subject, by="stranger")
    asking.files.write("agents", {"agents": [{"pool": "a", "key": asking.files.keys["stranger"].public}]})
    assert (await asking.granted(subject, claim)).grant is not None
    assert (await asking.granted(subject)).error is not None


async def test_a_policy_that_changed_since_the_decision_counts(asking: Asking) -> None:
    subject = asking.subject()
    before = await asking.decision(subject)
    assert before.effect == "allow"
    asking.files.policy(RULES[1])
    granted = await asking.granted(subject)
    assert granted.grant is None
    assert granted.decision is not None
    decision = read(granted.decision, Decision)
    assert (decision.effect, decision.code) == ("deny", "no_rule")
    assert decision.policy.digest != before.policy.digest


async def test_operation_that_needs_an_approval_gets_no_grant(asking: Asking) -> None:
    asking.files.policy({**RULES[0], "requires_approval": True})
    granted = await asking.granted(asking.subject())
    assert granted.grant is None
    assert granted.decision is not None
    decision = open_signed(granted.decision, Decision, (asking.files.keys["policy"].public,), "")
    assert (decision.effect, decision.code) == ("require_approval", "approval_required")


async def test_a_simulation_and_a_dry_run_get_no_grant(asking: Asking) -> None:
    simulated = await asking.granted(asking.subject(simulate=True))
    assert simulated.error is not None
    dry = await asking.granted(asking.subject(dry_run=True))
    assert dry.grant is None
    assert dry.decision is not None
    assert read(dry.decision, Decision).code == "dry_run"


async def test_a_claim_by_a_bound_key_from_another_host_or_from_none_is_forged(asking: Asking) -> None:
    here, there = "1" * 64, "2" * 64
    known = [{"pool": pool, "key": asking.files.keys[f"agent-{pool}"].public} for pool in "ab"]
    asking.files.write("agents", {"agents": [{**known[0], "host": here}, known[1]]})
    for host, code in ((there, "forged_claim"), (None, "forged_claim"), (here, "")):
        subject = asking.subject()
        granted = await asking.granted(subject, asking.claim(subject, host=host))
        assert (granted.error.code if granted.error else "") == code
