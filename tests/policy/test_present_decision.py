"""An approver is warned of a request that would not start now, although an approval is still possible."""

from typing import Any

from tests.policy.approving import NEEDS, Pending, know, pending
from tests.policy.replica import Asking

from writ_contracts import subjects
from writ_contracts.people.approvals import ApprovalCardReply, ApprovalQuery
from writ_contracts.wire import decode, encode
from writ_documents import yaml_file
from writ_trust.keys import Key, generate_seed

WRITES = {"name": "writes", "operations": ["file_write"], "allowed": True, "requires_approval": True}
FROZEN = {"name": "frozen", "operations": ["service_restart"], "allowed": False, "description": "no restarts today"}
CHANGED = "the policy changed since the request, and decides at its start again"


async def warning(asking: Asking, one: Pending, who: str = "bob") -> str:
    headers = {"Nats-Request-Info": '{"user": "' + asking.files.keys[who].public + '"}'}
    query = encode(ApprovalQuery(operation_id=one.subject.operation_id))
    message = await asking.bus.request(subjects.query(who, "approval"), query, timeout=20, headers=headers)
    answer = decode(message.data, ApprovalCardReply)
    assert answer.card is not None, answer
    return answer.card.warning


def change_target(asking: Asking, old: str, new: str) -> None:
    inventory = asking.files.path("inventory").read_text()
    assert old in inventory
    asking.files.write("inventory", inventory.replace(old, new, 1))


async def test_request_that_would_start_has_no_warning(asking: Asking) -> None:
    one = await pending(asking)
    assert await warning(asking, one) == ""
    asking.files.policy(NEEDS, {**FROZEN, "operations": ["file_write"]})
    assert await warning(asking, one) == ""


async def test_approver_is_told_that_a_rule_denies_the_request_by_now(asking: Asking) -> None:
    one = await pending(asking)
    asking.files.policy(FROZEN)
    assert await warning(asking, one) == "by now it is denied: rule 'frozen' denies it: no restarts today"
    assert (await one.decide()).state == "approved"
    assert await warning(asking, one) == ""  # nobody is asked any more
    await one.dispatched()
    assert await one.start() == ("deny", "denied")


async def test_approver_is_told_that_the_requester_is_disabled_and_cannot_approve(asking: Asking) -> None:
    one = await pending(asking)
    people = yaml_file.parse(asking.files.path("principals").read_bytes(), "principals").data
    requester = next(entry for entry in people["principals"] if entry["id"] == one.subject.principal)
    requester["disabled"] = True
    asking.files.write("principals", people)
    lost = f"principal {one.subject.principal} is disabled"
    assert await warning(asking, one) == f"its requester has lost access, so it would not start: {lost}"
    assert await one.code() == "principal_disabled"
    del requester["disabled"]
    asking.files.write("principals", people)
    assert await warning(asking, one) == ""
    assert (await one.decide()).state == "approved"


async def test_request_of_a_requester_with_another_key_by_now_cannot_be_approved(asking: Asking) -> None:
    one = await pending(asking)
    people = yaml_file.parse(asking.files.path("principals").read_bytes(), "principals").data
    requester = next(entry for entry in people["principals"] if entry["id"] == one.subject.principal)
    requester["key"] = Key(generate_seed()).public
    asking.files.write("principals", people)
    assert "its requester has lost access" in await warning(asking, one)
    assert await one.code() == "key_mismatch"


async def test_request_of_a_disabled_requester_can_be_rejected(asking: Asking) -> None:
    one = await pending(asking)
    people = yaml_file.parse(asking.files.path("principals").read_bytes(), "principals").data
    next(entry for entry in people["principals"] if entry["id"] == one.subject.principal)["disabled"] = True
    asking.files.write("principals", people)
    assert (await one.decide(verdict="reject", reason="it left")).state == "rejected"


async def test_approver_is_told_that_the_target_changed_or_was_removed(asking: Asking) -> None:
    one = await pending(asking)
    change_target(asking, "web-a\n", "web-a\n  tags: [moved]\n")
    assert (
        await warning(asking, one)
        == "target web-a changed in the inventory since the request, so it would end as stale"
    )
    change_target(asking, "web-a\n", "web-z\n")
    assert await warning(asking, one) == "target web-a is not in the inventory any more"


def with_default(timeout: int, least: int = 1) -> dict[str, Any]:
    return {**NEEDS, "parameter_constraints": {"timeout": {"default": timeout, "min": least}}}


async def test_approver_is_told_that_other_values_are_filled_in_by_now(asking: Asking) -> None:
    one = await pending(asking, with_default(60))
    assert await warning(asking, one) == ""
    told = "other values of timeout are filled in by now, so it would end as stale"
    for changed in (with_default(90), with_default(90, least=70)):
        asking.files.policy(changed)
        assert await warning(asking, one) == told
    assert (await one.decide()).state == "approved"
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_request_with_hidden_parameters_is_not_judged_but_a_change_of_the_policy_is_told(asking: Asking) -> None:
    changed: dict[str, Any] = {"operation": "file_write", "parameters": {"file_path": "/srv/a", "content": "x"}}
    know(asking)
    one = await pending(asking, WRITES, **changed)
    assert await warning(asking, one) == ""
    asking.files.policy({**WRITES, "operations": ["file_delete"]})
    assert await warning(asking, one) == CHANGED
