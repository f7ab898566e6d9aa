"""Proof of presence, end to end: people enrol security keys, policy demands them, and ssh-keygen itself signs."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs

from writ_client.client import Writ
from writ_contracts.decisions import Grant
from writ_contracts.errors import Untrusted
from writ_contracts.journal import ControlEvent, Granted
from writ_contracts.people.approvals import ApprovalReply
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.signing import Signed
from writ_contracts.subjects import CONTROL, any_operation_filter
from writ_contracts.wire import decode, decode_event, encode
from writ_documents.atomic_files import save
from writ_installation.archives.journal import bootstrapped
from writ_testing.eventually import eventually
from writ_testing.fakes.security_key import PRESENT, VERIFIED
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.installations.security_keys import SecurityKeys, security_keys
from writ_testing.peers.programs import program
from writ_trust.keys import Key
from writ_trust.statements import read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"roles": ["operator"]},
    "bob": {"roles": ["approver"]},
    "carol": {"roles": ["approver"]},
}
RULES: list[dict[str, Any]] = [
    {"name": "touched", "operations": ["test_noop"], "allowed": True, "approval": {"proof": "touch"}},
    {"name": "checked", "operations": ["test_sleep"], "allowed": True, "approval": {"proof": "verified"}},
    {
        "name": "vouched",
        "operations": ["test_fail"],
        "allowed": True,
        "approval": {"proof": "touch", "attested": True},
    },
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("credentials")
    targets = [local_target("web-1", folder / "files")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home, environ={"WRIT_SWEEP": "0.5"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(
    installation: RunningInstallation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecurityKeys]:
    """Bob enrolled first, and endorsed carol, both by the commands."""
    program("ssh-keygen")
    async with security_keys(installation, tmp_path_factory.mktemp("k")) as made:
        first = await made.request("bob", "bob", "--proof", "verified")
        await made.done("credential", "enrol", str(first))
        second = await made.request("carol", "carol", "--proof", "verified")
        await made.done("credential", "endorse", str(second), "--ssh-key", str(made.file("bob")), "--yes")
        await made.done("credential", "enrol", str(second))
        listed = await made.done("credential", "list")
        assert [one["credential"]["person"] for one in listed["credentials"]] == ["bob", "carol"]
        yield made


@pytest.fixture(autouse=True)
def touched(keys: SecurityKeys) -> None:
    keys.agent.flags = PRESENT | VERIFIED


@asynccontextmanager
async def requested(installation: RunningInstallation, operation: str = "test_noop") -> AsyncIterator[tuple[Writ, str]]:
    """Yield alice and a waiting operation of hers."""
    alice = await installation.client("alice")
    try:
        answer = await alice.submit(operation, "web-1", {"seconds": 0} if operation == "test_sleep" else {})
        assert answer.state == "awaiting_approval", answer
        yield alice, answer.operation_id or ""
    finally:
        await alice.close()


async def approved_by_nkey(installation: RunningInstallation, operation_id: str) -> ApprovalReply:
    bob = await installation.client("bob")
    try:
        card = await bob.approvals.card(operation_id, [installation.home.key("policy").public])
        return await bob.approvals.approve(card)
    finally:
        await bob.close()


async def test_a_touch_is_demanded_of_the_approver_and_verified_by_policy_and_agent(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    async with requested(installation) as (alice, operation_id):
        with pytest.raises(Untrusted, match="it needs the proof touch, and the signature proves key"):
            await approved_by_nkey(installation, operation_id)
        without = await keys.writ("approvals", "approve", operation_id, "--as", "bob", "--yes")
        assert (without.status, "--ssh-key" in without.err) == (2, True), without
        approved = await keys.approve("bob", operation_id, "bob")
        assert (approved.status, "approved" in approved.out) == (0, True), approved
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
    async with bootstrapped(installation.home, installation.url) as bus:
        events = [decode_event(one.data) for one in await bus.journal.read(any_operation_filter(operation_id))]
        controls = [decode_event(one.data) for one in await bus.journal.read(CONTROL)]
    grant = next(read(event.grant, Grant) for event in events if isinstance(event, Granted))
    assert grant.people is not None
    assert [one.proof for one in grant.proven] == ["verified"]
    assert grant.person == "alice"
    recorded = [one.body for one in controls if isinstance(one, ControlEvent) and one.kind == "people_version"]
    assert grant.people.digest in [one["digest"] for one in recorded]
    assert any("enrolled ssh of carol, worth verified" in str(one["changed"]) for one in recorded)


async def test_flags_that_the_token_does_not_set_prove_nothing(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    async with requested(installation, "test_sleep") as (alice, operation_id):
        for flags, why in ((VERIFIED, "nobody touched"), (PRESENT, "the signature proves only touch")):
            keys.agent.flags = flags
            refused = await keys.approve("bob", operation_id, "bob")
            assert (refused.status != 0, why in refused.err) == (True, True), refused
        keys.agent.flags = PRESENT | VERIFIED
        assert (await keys.approve("bob", operation_id, "bob")).status == 0
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"


async def test_another_persons_key_and_one_that_is_not_enrolled_are_refused(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    keys.add("stranger")
    async with requested(installation) as (alice, operation_id):
        for name in ("carol", "stranger"):
            refused = await keys.approve("bob", operation_id, name)
            assert (refused.status != 0, "is not a credential of the approver" in refused.err) == (True, True), refused
        await alice.cancel(operation_id)


async def test_a_credential_enrolled_after_the_request_does_not_count_for_it(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    async with requested(installation) as (alice, operation_id):
        await keys.enrol("bob", "late", endorser="carol")
        refused = await keys.approve("bob", operation_id, "late")
        assert "is not a credential of the approver" in refused.err, refused
        await alice.cancel(operation_id)
    async with requested(installation) as (alice, operation_id):
        assert (await keys.approve("bob", operation_id, "late")).status == 0
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"


async def test_a_removed_credential_counts_no_more_also_for_what_it_has_approved(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    await keys.enrol("bob", "lost", endorser="carol")
    async with requested(installation) as (alice, operation_id):
        with installation.paused("executor"):
            assert (await keys.approve("bob", operation_id, "lost")).status == 0
            await keys.remove("lost")
        ended = await alice.wait(operation_id, timeout=20)
        assert (ended.outcome, ended.code) == ("stale", "stale"), ended
    async with requested(installation) as (alice, operation_id):
        refused = await keys.approve("bob", operation_id, "lost")
        assert "is not a credential of the approver" in refused.err, refused
        await alice.cancel(operation_id)


async def test_a_proof_that_nobody_has_enrolled_is_a_denial_with_the_reason(installation: RunningInstallation) -> None:
    alice = await installation.client("alice")
    try:
        ended = await alice.run("test_fail", "web-1", timeout=20)
        assert (ended.outcome, ended.code) == ("denied", "approval_unavailable")
        assert "nobody could approve it with the proof touch by an attested credential" in ended.message
    finally:
        await alice.close()


async def test_an_enrolment_needs_another_persons_endorsement(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    request = await keys.request("bob", "second")
    before = installation.home.people_file.read_bytes()
    refused = await keys.writ("credential", "enrol", str(request))
    assert (refused.status, "another person must endorse it first" in refused.err) == (3, True), refused
    asked = await keys.writ("credential", "endorse", str(request), "--ssh-key", str(keys.file("carol")))
    assert (asked.status, "no terminal" in asked.err, "--yes" in asked.err) == (2, True, True), asked
    keys.add("unknown")
    for endorser, why in (("bob", "bob endorsed a credential of their own"), ("unknown", "was not valid then")):
        with pytest.raises(Untrusted, match=why):
            await keys.enrol("bob", f"by-{endorser}", endorser=endorser)
    assert installation.home.people_file.read_bytes() == before


async def test_an_older_directory_is_not_taken_back(installation: RunningInstallation, keys: SecurityKeys) -> None:
    older = installation.home.people_file.read_bytes()
    await keys.enrol("bob", "gone", endorser="carol")
    await keys.remove("gone")
    newest = installation.home.people_file.read_bytes()
    carol = await installation.client("carol")
    try:
        assert (await carol.approvals.people()).directory is not None
        installation.home.people_file.write_bytes(older)

        in_force = (await carol.approvals.people()).directory
        assert in_force is not None
        assert in_force.signature.encode() in newest
    finally:
        installation.home.people_file.write_bytes(newest)
        await carol.close()


async def test_person_of_a_former_ones_name_has_none_of_their_credentials(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    add = ("principal", "add", "erin", "--role", "approver")
    assert (await keys.writ(*add)).status == 0
    credential = await keys.enrol("erin", "erin", endorser="bob")
    removed = await keys.writ("principal", "remove", "erin", "--yes")
    remove = f"writ credential remove {credential[:12]}"
    assert (removed.status, remove in removed.out) == (0, True), removed
    again = await keys.writ(*add)
    assert (again.status, remove in again.err) == (2, True), again
    assert not installation.home.seed_file("principal-erin").exists()
    await keys.remove("erin")
    assert (await keys.writ(*add)).status == 0


@pytest.mark.exhaustive
async def test_the_people_key_is_rotated_while_operations_wait_and_run(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    home, old = installation.home, installation.home.people_key()
    former = Key(home.people_seed.read_bytes(), home.installation)
    async with requested(installation) as (alice, operation_id):
        assert (await installation.writ("keys", "rotate", "people")).status == 0
        assert home.people_key() != old
        assert (await keys.approve("bob", operation_id, "bob")).status == 0
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
    await keys.enrol("bob", "after", endorser="carol")  # signed by the new key, which policy and the agent follow
    async with requested(installation) as (alice, operation_id):
        assert (await keys.approve("bob", operation_id, "after")).status == 0
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
        directory = decode(home.people_file.read_bytes(), Signed)
        version = read(directory, PeopleDirectory)
        forged = structs.replace(version, number=version.number + 1, entries=version.entries[:1])
        save(home.people_file, encode(sign(former, forged)))
        before = await alice.submit("test_noop", "web-1", {})  # policy reads the file before it decides
        save(home.people_file, encode(directory))
        assert (await keys.approve("bob", before.operation_id or "", "after")).status == 0
        assert (await alice.wait(before.operation_id or "", timeout=20)).outcome == "succeeded"
    expected = (f"people-key {home.people_key()[:12]} follows {old[:12]}", f"people {old[:12]} former")
    async with bootstrapped(home, installation.url) as bus:

        async def recorded() -> bool:
            controls = [decode_event(one.data) for one in await bus.journal.read(CONTROL)]
            bodies = [one.body for one in controls if isinstance(one, ControlEvent)]
            changes = " ".join(str(body["changed"]) for body in bodies if "changed" in body)
            return all(change in changes for change in expected)

        await eventually(recorded)
    listed = json.loads((await installation.writ("keys", "list", "-o", "json")).out)["keys"]
    assert {one["public"]: one["state"] for one in listed if one["name"] == "people"}[old] == "former"
