"""The part of inventory and policy within reach of a limited principal's lists. Lists and errors agree."""

import json
from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import Asking
from tests.policy.test_analysis_queries import NGINX, Vouched, by
from tests.rules.asking import rule

from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.policy.listing import MOST_TARGETS, VisibleReply, VisibleRequest
from writ_contracts.policy.questions import EvalRequest
from writ_contracts.policy.stops import Reach
from writ_contracts.policy.versions import PolicyStatusReply
from writ_contracts.wire import decode, encode
from writ_policy.state import control_pages
from writ_rules.engine.control import ControlState, Stop
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow

OWN = rule("own", "service_restart", users=["copilot", "alice"], targets=["web-a"])
OTHERS = rule("payroll-team", "service_restart", users=["bob"], targets=["web-b"])
TEST = rule("tests", "backend_test", users=["copilot"])
GUESSED = {"hidden": "web-b", "absent": "web-z"}


async def visible(asking: Asking, principal: str, *targets: str) -> VisibleReply:
    key = asking.files.keys[principal].public
    data = encode(VisibleRequest(principal=principal, key=key, targets=list(targets)))
    return decode((await asking.bus.request(subjects.POLICY_VISIBLE, data, timeout=30)).data, VisibleReply)


async def error_of(asking: Asking, target: str, **changed: Any) -> tuple[str, str]:
    """Code and message of the error, with the name of the target left out."""
    decided = await asking.decide(asking.subject(principal="copilot", target=target, **changed))
    assert decided.error is not None
    return decided.error.code, decided.error.message.replace(target, "TARGET")


async def status(asking: Asking, principal: str) -> PolicyStatusReply:
    bus, subject = Vouched(asking, principal, principal), subjects.query(principal, "policy_status")
    return decode((await bus.request(subject, b"{}", timeout=20)).data, PolicyStatusReply)


async def test_listing_has_the_targets_and_operations_that_rules_of_an_agent_reach(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS)
    agent = await visible(asking, "copilot", "web-a", "web-b", "box", "web-z")
    assert (agent.limited, agent.operations) == (True, {"web-a": ["service_restart"]})
    assert await visible(asking, "alice", "web-b") == VisibleReply()


async def test_list_by_rules_names_the_limited_kinds(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS, list_by_rules=["human"])
    assert (await visible(asking, "bob", "web-a", "web-b")).operations == {"web-b": ["service_restart"]}
    assert not (await visible(asking, "copilot", "web-b")).limited


async def test_visible_refuses_a_key_that_is_not_the_principals(asking: Asking) -> None:
    data = encode(VisibleRequest(principal="copilot", key=asking.files.keys["bob"].public, targets=["web-a"]))
    answer = decode((await asking.bus.request(subjects.POLICY_VISIBLE, data, timeout=30)).data, VisibleReply)
    assert answer.error is not None
    assert answer.error.code == "key_mismatch"


async def test_visible_is_bounded(asking: Asking) -> None:
    many = [f"t{number}" for number in range(MOST_TARGETS + 1)]
    assert (await visible(asking, "copilot", *many)).error is not None


async def test_request_for_a_hidden_target_fails_as_for_an_absent_one(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS, TEST)
    for changed in (
        {},
        {"simulate": True},
        {"dry_run": True},
        {"parameters": {"service_name": "../x"}},
        {"operation": "container_stop", "parameters": {"container_name": "x"}},  # which web-b does not offer
    ):
        errors = {await error_of(asking, target, **changed) for target in GUESSED.values()}
        assert errors == {("unknown_target", "no target 'TARGET' in the inventory")}, changed


async def test_target_test_of_a_hidden_target_fails_as_of_an_absent_one(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS, TEST)
    errors = {
        await error_of(asking, "writ", operation="backend_test", parameters={"target": target})
        for target in GUESSED.values()
    }
    assert {(code, message.split("'")[0]) for code, message in errors} == {("unknown_target", "no target ")}


async def test_denied_agent_reads_of_its_own_rules_alone(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS, rule("other-name", "service_stop", users=["copilot"]))
    decision = await asking.decision(asking.subject("service_stop", "web-a", principal="copilot", parameters=NGINX))
    assert decision.effect == "allow"
    denied = await asking.decision(asking.subject("service_start", "web-a", principal="copilot", parameters=NGINX))
    assert (denied.effect, denied.trace, denied.trace_omitted) == ("deny", [], 0)
    asking.files.policy(OWN, {**OTHERS, "operations": ["service_start"], "target_roles": ["production"]})
    denied = await asking.decision(asking.subject("service_start", "web-a", principal="copilot", parameters=NGINX))
    assert "payroll" not in json.dumps(denied.reason)
    assert "production" not in denied.reason


async def test_operation_on_record_is_decided_though_its_target_became_hidden(asking: Asking) -> None:
    asking.files.policy(OWN)
    subject = asking.subject(principal="copilot")
    await asking.decision(subject)
    await asking.record(subject)
    asking.files.policy(OTHERS)
    answer = await asking.granted_as_recorded(structs.replace(subject, recorded=True))
    assert (answer.error, answer.grant) == (None, None)
    assert answer.decision is not None


async def test_policy_queries_of_an_agent_know_no_hidden_target_and_no_rule_of_others(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS)
    agent, messages = by(asking, "copilot"), set[str]()
    for target in GUESSED.values():
        for query in (
            agent.can_i("service_restart", target, NGINX),
            agent.explain("service_restart", target, NGINX),
            agent.allowed(principal="copilot", target=target),
        ):
            with pytest.raises(Invalid) as caught:
                await query
            messages.add(str(caught.value).replace(target, "TARGET"))
        (one,) = await agent.eval(
            [EvalRequest(principal="copilot", operation="service_restart", target=target, parameters=NGINX)]
        )
        messages.add(one.reason.replace(target, "TARGET"))
    assert messages == {"no target 'TARGET' in the inventory"}
    listed = await agent.allowed(principal="copilot")
    assert {name for access in listed.accesses for name in access.targets} <= {"web-a", "writ"}
    explained = await agent.explain("service_restart", "web-a", NGINX)
    assert [entry.rule for entry in explained.trace] == ["own"]
    assert "payroll" not in repr((listed, explained))


async def test_policy_status_of_an_agent_names_no_target_and_counts_no_rule_of_others(asking: Asking) -> None:
    asking.files.policy(OWN, OTHERS)
    asking.files.write("inventory", {"targets": [{"id": "web-a", "role": "payroll-db"}]})
    full, limited = [await status(asking, who) for who in ("alice", "copilot")]
    assert "payroll" in repr(full.problems)
    assert "payroll" not in repr(limited)
    assert (full.rules, limited.rules, limited.problems.keys()) == (2, 1, full.problems.keys())


def test_approval_windows_of_others_are_hidden_from_an_agent_its_humans_too() -> None:
    own, humans = [
        ApprovalWindow(
            id=f"window-{by}",
            by=by,
            reason="work",
            since=0,
            until=9e9,
            uses=3,
            operations=frozenset({"service_restart"}),
            targets=frozenset({"payroll-db"}),
            sequence=1,
            approvers=("bob",),
        )
        for by in ("copilot", "alice")
    ]
    stop = Stop(id="s1", reach=Reach(targets=("payroll-db",)), reason="fire", until=None, by="copilot")
    found = control_pages.entries(ControlState(stops=(stop,), windows=(own, humans)), now=1)
    assert len(found) == 3
    assert control_pages.own_windows(found, "copilot") == [own]
