"""The check of recorded verdicts: one that its approver did not sign for this request differs, whoever recorded it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec import Raw, structs
from tests.policy.approving import Pending, awaiting, know, preview, stamp
from tests.policy.publishing import document, publish, publishable
from tests.policy.replica import Asking
from tests.policy.second_decisions import last_checked
from tests.trust.test_people import BOB, FIRST

from writ_contracts.journal import ApprovalGiven, Approved, Rejected
from writ_contracts.people.directory import PeopleDirectory
from writ_rules.second_decisions.comparison import UNFORESEEN
from writ_trust.approvals import sign_approval, signed_bytes, with_evidence
from writ_trust.keys import Key, generate_seed

STRANGER = Key(generate_seed())
WAITS = {"name": "restarts", "operations": ["service_restart"], "allowed": True, "requires_approval": True}
Verdict = Approved | ApprovalGiven | Rejected
Forge = Callable[[Pending], Verdict]


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as asking:
        yield asking


async def waiting(asking: Asking) -> Pending:
    """Return a request of alice which needs an approval."""
    at = await publish(asking, document(WAITS))
    await asking.decision(asking.subject(), control_sequence=at)
    return await awaiting(asking, asking.subject())


def approved(one: Pending, key: Key, **changed: str) -> Approved:
    approval = one.approval(**changed)
    common = {**stamp(one.asking, "approved"), "operation_id": one.subject.operation_id}
    return Approved(**common, approver="bob", approvals=[sign_approval(key, approval)])


def rejected(one: Pending, key: Key, **changed: str) -> Rejected:
    approval = one.approval(**{"verdict": "reject", **changed})
    common = {**stamp(one.asking, "rejected"), "operation_id": one.subject.operation_id}
    return Rejected(**common, approver="bob", approval=sign_approval(key, approval), reason="")


def given(one: Pending, key: Key, **changed: str) -> ApprovalGiven:
    approval = one.approval(**changed)
    common = {**stamp(one.asking, "given"), "operation_id": one.subject.operation_id}
    return ApprovalGiven(**common, approver="bob", approval=sign_approval(key, approval), remaining=1)


def bob(one: Pending) -> Key:
    return one.asking.files.keys["bob"]


def unreadable(one: Pending) -> Verdict:
    event = rejected(one, bob(one))
    return structs.replace(event, approval=structs.replace(event.approval, payload=Raw(b"{}")))


FORGERIES: dict[str, tuple[Forge, str]] = {
    "rejected by a stranger": (lambda one: rejected(one, STRANGER), "bob did not sign"),
    "approved by a stranger": (lambda one: approved(one, STRANGER), "bob did not sign"),
    "given by a stranger": (lambda one: given(one, STRANGER), "bob did not sign"),
    "an approval as a rejection": (lambda one: rejected(one, bob(one), verdict="approve"), "bob did not sign"),
    "a rejection as an approval": (lambda one: approved(one, bob(one), verdict="reject"), "bob did not sign"),
    "of another request": (lambda one: rejected(one, bob(one), requested="0" * 64), "bob did not sign"),
    "of another operation": (lambda one: rejected(one, bob(one), operation_id="a" * 26), "bob did not sign"),
    "of nobody": (lambda one: structs.replace(approved(one, bob(one)), approvals=[]), "nobody signed it"),
    "in another's name": (lambda one: structs.replace(rejected(one, bob(one)), approver="carol"), "and not carol"),
    "of no principal": (lambda one: rejected(one, STRANGER, approver="mallory"), "no principal mallory"),
    "unreadable": (unreadable, "not an approval"),
}


@pytest.mark.parametrize("case", FORGERIES)
async def test_verdict_that_its_approver_did_not_sign_differs(asking: Asking, tmp_path: Path, case: str) -> None:
    one = await waiting(asking)
    forge, why = FORGERIES[case]
    await asking.append(one.subject, forge(one))
    found = await last_checked(asking, tmp_path, one.subject)
    assert found.result == "differs"
    assert why in found.why


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_verdict_that_policy_recorded_is_the_same(asking: Asking, tmp_path: Path, verdict: str) -> None:
    one = await waiting(asking)
    await preview(one)
    assert (await one.decide(verdict=verdict, reason="seen")).error is None
    assert (await last_checked(asking, tmp_path, one.subject)).result == "same"


@pytest.mark.parametrize("removed", [False, True])
async def test_verdict_by_a_key_of_then_is_open_where_the_principals_are_unknown(
    asking: Asking, tmp_path: Path, removed: bool
) -> None:
    one = await waiting(asking)
    assert (await one.decide(verdict="reject", reason="seen")).error is None
    asking.files.keys["bob"] = Key(generate_seed())
    if removed:
        asking.files.write("principals", {"principals": []})
    else:
        know(asking)
    assert (await last_checked(asking, tmp_path, one.subject)).result == "open"


async def test_verdict_by_a_token_is_open_where_its_principal_was_another_persons_then_perhaps(
    asking: Asking, tmp_path: Path
) -> None:
    one = await waiting(asking)
    approval = one.approval(verdict="reject")
    event = rejected(one, bob(one))
    signed = with_evidence(approval, BOB.id, BOB.sign_ssh(signed_bytes(approval)))
    await asking.append(one.subject, structs.replace(event, approval=signed))
    now = {"id": "bob", "kind": "human", "person": "robert", "roles": ["approver"], "key": bob(one).public}
    asking.files.write("principals", {"principals": [now]})
    people = PeopleDirectory(number=1, at=100.0, posture="team", entries=[FIRST])
    assert (await last_checked(asking, tmp_path, one.subject, people)).result == "open"


async def test_verdict_whose_check_fails_unexpectedly_is_open(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    one = await waiting(asking)
    await asking.append(one.subject, rejected(one, STRANGER))
    monkeypatch.setattr("writ_rules.second_decisions.verdicts.is_signed", fails)
    found = await last_checked(asking, tmp_path, one.subject)
    assert (found.result, found.why) == ("open", f"{UNFORESEEN}: KeyError in fails")
