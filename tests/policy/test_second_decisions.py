"""Recorded decisions, made a second time: policy's own are equal, and changes by a thief of its key differ."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.publishing import document, publish, publishable
from tests.policy.replica import KEY, Asking
from tests.policy.second_decisions import allowed, checked, checker, last_checked, recorded, start
from tests.trust.test_people import FIRST, SECOND

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.people.directory import DirectoryEntry, PeopleDirectory
from writ_rules.second_decisions.file_history import FileHistory, KeptReading
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign

RESTARTS = {"name": "restarts", "operations": ["service_restart"], "allowed": True, "max_concurrent": 2}
BY_LIST = {
    "name": "listed",
    "operations": ["service_restart"],
    "allowed": True,
    "parameter_constraints": {"service_name": {"allowlist_source": "list_services"}},
}
CONTENTS = {
    "name": "contents",
    "operations": ["file_write"],
    "allowed": True,
    "parameter_constraints": {"content": {"allowed_values": ["x"]}},
}
HOUR = 3_600.0
COPIES = {
    "name": "copies",
    "operations": ["file_copy"],
    "allowed": True,
    "parameter_constraints": {"overwrite": {"allowed_values": [False]}, "timeout": {"default": 45}},
}
DISABLES = {"action": "disable", "principal_id": "copilot"}
FROM_A_TO_B = {"source_path": "/srv/a", "dest_path": "/srv/b"}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as asking:
        yield asking


async def test_decisions_of_policy_are_the_same(asking: Asking, tmp_path: Path) -> None:
    opened = {"key": Key(generate_seed()).public, "seconds": 60}
    for about in (
        asking.subject(),
        asking.signed(asking.subject("stop_set", "writ", parameters={"scope": ["*"], "reason": "x"})),
        asking.subject("file_read", parameters={"file_path": "/srv/x"}),
        asking.subject(principal="copilot"),
        asking.signed(asking.subject("session_open", "writ", parameters=opened)),
    ):
        assert (await checked(asking, tmp_path, about)).result == "same"


async def test_an_allow_that_the_policy_does_not_give_differs(asking: Asking, tmp_path: Path) -> None:
    about = asking.subject("file_read", parameters={"file_path": "/srv/x"})
    found = await checked(asking, tmp_path, about, allowed)
    assert (found.result, found.expected) == ("differs", "deny (no_rule)")


async def test_a_limit_that_was_left_out_differs(asking: Asking, tmp_path: Path) -> None:
    at = await publish(asking, document(RESTARTS))
    about = asking.subject()
    found = await checked(asking, tmp_path, about, control_sequence=at)
    assert found.result == "same"
    less = asking.subject()
    found = await checked(asking, tmp_path, less, lambda one: structs.replace(one, limits=[]), control_sequence=at)
    assert found.result == "differs"


async def test_an_admin_operation_without_its_signature_differs(asking: Asking, tmp_path: Path) -> None:
    about = asking.signed(asking.subject("file_delete", parameters={"file_path": "/srv/x"}))
    assert (await checked(asking, tmp_path, about)).result == "same"
    unsigned = asking.subject("file_delete", parameters={"file_path": "/srv/x"})
    found = await checked(asking, tmp_path, unsigned, allowed)
    assert (found.result, found.why) == ("differs", "file_delete needs the principal's own signature")


async def test_a_replaced_version_differs_and_the_one_of_then_is_the_same(asking: Asking, tmp_path: Path) -> None:
    before = await asking.decision(asking.subject())
    early = asking.subject()
    earlier = await recorded(asking, early, structs.replace(before, operation_id=early.operation_id))
    at = await publish(asking, document({**RESTARTS, "allowed": False, "max_concurrent": None}))
    asking.clock.now += HOUR
    about = asking.subject()
    stolen = structs.replace(before, operation_id=about.operation_id, at=asking.clock.now, control_sequence=at)
    late = await recorded(asking, about, stolen)
    again = checker(asking, tmp_path)
    first, second = await again.check(earlier), await again.check(late)
    assert first is not None
    assert second is not None
    assert first.comparison.result == "same"
    assert second.comparison.why == "version 1 of the policy was replaced 3600 s before"


async def test_a_decision_made_without_a_stop_differs(asking: Asking, tmp_path: Path) -> None:
    before = await asking.decision(asking.subject())
    subject = asking.signed(asking.subject("stop_set", "writ", parameters={"scope": ["*"], "reason": "x"}))
    answer = await asking.decide(subject)
    about = {"operation_id": subject.operation_id, "id": subject.operation_id, "parameters_key": KEY}
    at = await asking.control("stop_set", dict(answer.effective), answer.decision, **about)
    asking.clock.now += HOUR
    requested = asking.subject()
    stolen = structs.replace(before, operation_id=requested.operation_id, at=asking.clock.now)
    found = await checker(asking, tmp_path).check(await recorded(asking, requested, stolen))
    assert found is not None
    assert found.comparison.why == f"it was made without control event {at}, which was on record before"
    named = await recorded(asking, asking.subject(), structs.replace(stolen, control_sequence=at))
    named_found = await checker(asking, tmp_path).check(named)
    assert named_found is not None
    assert named_found.comparison.expected == "deny (stopped)"


async def test_a_disabled_principals_allow_differs(asking: Asking, tmp_path: Path) -> None:
    people = asking.files.path("principals")
    before = await asking.decision(asking.subject())
    people.write_text(people.read_text().replace("- id: alice", "- disabled: true\n  id: alice"))
    assert await asking.code(asking.subject()) == "principal_disabled"
    about = asking.subject()
    denied = await asking.decision(asking.subject(principal="bob"))
    policy = structs.replace(before.policy, principals_digest=denied.policy.principals_digest)
    stolen = structs.replace(before, operation_id=about.operation_id, policy=policy)
    found = await checker(asking, tmp_path).check(await recorded(asking, about, stolen))
    assert found is not None
    assert (found.comparison.result, found.comparison.why) == ("differs", "principal alice was disabled")


async def test_a_replaced_file_differs_and_an_unseen_one_is_open(asking: Asking, tmp_path: Path) -> None:
    before = await asking.decision(asking.subject())
    inventory = asking.files.path("inventory")
    history = FileHistory(tmp_path / "kept", inventory)
    history.record_change(asking.clock.now - HOUR)
    inventory.write_text(inventory.read_text() + "\n# again\n")
    history.record_change(asking.clock.now - HOUR + 1)
    assert history.named(before.policy.inventory_digest, asking.clock.now, 60.0) is False
    assert history.named(before.policy.inventory_digest, asking.clock.now - HOUR, 60.0) is True
    found = await checked(asking, tmp_path, asking.subject(), _other_inventory)
    assert (found.result, found.why) == ("open", "it names files that this audit service has never read")
    denied = asking.subject("file_read", parameters={"file_path": "/srv/x"})
    worse = await checked(asking, tmp_path, denied, lambda one: allowed(_other_inventory(one)))
    assert worse.result == "differs"


def _other_inventory(decision: Decision) -> Decision:
    return structs.replace(decision, policy=structs.replace(decision.policy, inventory_digest="0" * 64))


def test_decision_during_an_outage_of_audit_causes_no_alarm(tmp_path: Path) -> None:
    """Audit was down while the file changed: the new content may have been in force since the last one was read."""
    path = tmp_path / "inventory.yaml"
    path.write_text("one")
    first = FileHistory(tmp_path / "kept", path)
    first.record_change(100.0)
    path.write_text("two")
    again = FileHistory(tmp_path / "kept", path)
    again.record_change(900.0)
    digest = again.versions[-1].digest
    assert again.named(digest, 500.0, 0.0) is True
    assert again.copy(digest) is not None
    again.copy(digest).write_text("three")  # type: ignore[union-attr]
    assert again.copy(digest) is None


def test_a_kept_reading_is_read_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    history, digests = FileHistory(tmp_path / "kept", path), list[str]()
    for at, text in enumerate(("one", "two")):
        path.write_text(text)
        history.record_change(float(at))
        digests.append(history.versions[-1].digest)
    read_paths = list[Path]()

    def read_text(path: Path) -> str:
        read_paths.append(path)
        return path.read_text()

    reading = KeptReading(history, read_text)
    assert [reading.of(one) for one in (digests[0], digests[0], digests[1], digests[1])] == ["one", "one", "two", "two"]
    assert len(read_paths) == 2
    assert reading.of("0" * 64) is None


async def test_decision_on_facts_or_hidden_parameters_is_open_unless_no_rule_could_allow_it(
    asking: Asking, tmp_path: Path
) -> None:
    at = await publish(asking, document(BY_LIST, CONTENTS))
    version = (await asking.decision(asking.subject(), control_sequence=at)).policy
    assert version.number == 2
    by_facts = await checked(asking, tmp_path, asking.subject(), allowed, control_sequence=at)
    assert (by_facts.result, by_facts.why) == ("open", "it depends on facts that are not on record")
    about = asking.subject("file_write", parameters={"file_path": "/srv/x", "content": "x"})
    decision = await asking.decision(about, control_sequence=at)
    supplied = {"file_path": "/srv/x"}
    await asking.record(
        about, sign(asking.files.keys["policy"], decision), parameters=supplied, effective=supplied, hidden=["content"]
    )
    [record, _] = await asking.bus.journal.read(subjects.operation_filter("alice", about.operation_id))
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert (found.comparison.result, found.comparison.why) == (
        "open",
        "it depends on parameters that are not on record",
    )


async def test_a_decision_far_from_its_event_differs(asking: Asking, tmp_path: Path) -> None:
    """A thief could name a moment within a maintenance window."""
    found = await checked(asking, tmp_path, asking.subject(), lambda one: structs.replace(one, at=one.at - HOUR))
    assert found.why == "by its own time it was made 3600 s before it was stored"


async def test_an_approver_without_an_approval_on_record_does_not_count(asking: Asking, tmp_path: Path) -> None:
    waits = {"name": "waits", "operations": ["service_restart"], "allowed": True, "requires_approval": True}
    at = await publish(asking, document(waits))
    about = asking.subject()
    assert (await checked(asking, tmp_path, about, control_sequence=at)).result == "same"

    def approved(decision: Decision) -> Decision:
        return structs.replace(allowed(decision), approvals=["bob"], demands=[])

    found = await checked(asking, tmp_path, asking.subject(), approved, control_sequence=at)
    assert (found.result, found.expected) == ("differs", "require_approval (approval_required)")


@pytest.mark.parametrize(
    ("effective", "result"),
    [
        ({"timeout": 45, "overwrite": False}, "same"),
        ({"timeout": 45}, "same"),
        ({"timeout": 45, "overwrite": True}, "differs"),
        ({"timeout": 900, "overwrite": False}, "differs"),
        ({"overwrite": False}, "differs"),
        ({"timeout": 45, "source_path": "/srv/c"}, "differs"),
    ],
)
async def test_a_parameter_that_was_not_requested_differs(
    asking: Asking, tmp_path: Path, effective: dict[str, Any], result: str
) -> None:
    """A default of a rule is the policy's."""
    at = await publish(asking, document(COPIES))
    about = asking.subject("file_copy", parameters=FROM_A_TO_B)
    record = await recorded(asking, about, await asking.decision(about, control_sequence=at), **effective)
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert found.comparison.result == result, found.text


@pytest.mark.parametrize(("mode", "why"), [("0777", "its mode was not requested"), ("0640", "")])
async def test_a_parameter_beside_a_hidden_one_is_compared(asking: Asking, tmp_path: Path, mode: str, why: str) -> None:
    writes = {**CONTENTS, "parameter_constraints": {"mode": {"default": "0640"}}}
    at = await publish(asking, document(writes))
    about = asking.subject("file_write", parameters={"file_path": "/srv/x", "content": "x"})
    answer = await asking.decide(about, control_sequence=at)
    assert answer.decision is not None
    effective = {**{name: value for name, value in answer.effective.items() if name != "content"}, "mode": mode}
    supplied = {"file_path": "/srv/x"}
    await asking.record(about, answer.decision, parameters=supplied, effective=effective, hidden=["content"])
    [record, _] = await asking.bus.journal.read(subjects.operation_filter("alice", about.operation_id))
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert found.comparison.why == why


async def test_a_start_with_other_parameters_than_on_record_differs(asking: Asking, tmp_path: Path) -> None:
    about = asking.subject()
    answer = await asking.decide(about)
    assert answer.decision is not None
    await asking.record(about, answer.decision, parameters=about.parameters, effective=answer.effective)
    granted = await asking.granted_as_recorded(about)
    assert granted.decision is not None
    assert (await last_checked(asking, tmp_path, about)).result == "same"
    decision = read(granted.decision, Decision)
    other = structs.replace(decision, parameters_digest=keyed_digest(KEY, {"service_name": "sshd"}))
    await asking.append(about, start(asking, about, other, answer.effective))
    assert "other parameters than its request" in (await last_checked(asking, tmp_path, about)).why


async def test_a_version_replaced_behind_unusable_records_differs(asking: Asking, tmp_path: Path) -> None:
    """Policy's key may write there."""
    before = await asking.decision(asking.subject())
    for number in range(5):
        last = await asking.bus.policies.last(subjects.POLICIES)
        assert last is not None
        unusable = Entry(
            subject=subjects.POLICY_FILE,
            data=b'{"type":"policy"}',
            event_id=f"unusable-{number}",
            filter=subjects.POLICIES,
            expected=last.sequence,
        )
        await asking.bus.policies.append(unusable)
    await publish(asking, document({**RESTARTS, "allowed": False, "max_concurrent": None}))
    asking.clock.now += HOUR
    about = asking.subject()
    stolen = structs.replace(before, operation_id=about.operation_id, at=asking.clock.now)
    found = await checker(asking, tmp_path).check(await recorded(asking, about, stolen))
    assert found is not None
    assert found.comparison.why == "version 1 of the policy was replaced 3600 s before"


@pytest.mark.parametrize(
    ("entries", "result"),
    [
        ((FIRST, SECOND), "differs"),
        ((FIRST,), "same"),
        ((FIRST, structs.replace(SECOND, enrolled_at=4e9)), "same"),
        ((FIRST, structs.replace(SECOND, removed_at=21.0)), "same"),
        ((FIRST, structs.replace(SECOND, removed_at=4e9)), "differs"),
    ],
)
async def test_a_change_of_principals_by_one_person_of_a_team_differs(
    asking: Asking, tmp_path: Path, entries: tuple[DirectoryEntry, ...], result: str
) -> None:
    """The policy demands no approval of it, but several people had credentials then."""
    at = await publish(asking, document({"name": "manages", "operations": ["principal_manage"], "allowed": True}))
    about = asking.signed(asking.subject("principal_manage", "writ", parameters=DISABLES))
    record = await recorded(asking, about, await asking.decision(about, control_sequence=at))
    directory = PeopleDirectory(number=1, at=100.0, posture="team", entries=list(entries))
    found = await checker(asking, tmp_path, directory).check(record)
    assert found is not None
    assert found.comparison.result == result, found.text
