"""With every key that an AI agent can hold, over every subject of the registry, no approval proves a presence.

The agent has its own key, its human's key file, an approver's key file, and a session of each. It also has a security
key in software (not enrolled), the signed approval of another request, and knowledge of the whole protocol. It sends
every message on every subject. Afterwards nothing is approved and no credential is enrolled.
"""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Raw, structs

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_client.people.approval_card import Card
from writ_client.people.approvals import Signer
from writ_client.people.ssh_keygen import ssh_credential
from writ_contracts import registry
from writ_contracts.channels import Channel, Role
from writ_contracts.errors import Full, Untrusted, WritError
from writ_contracts.journal import ApprovalGiven, Approved
from writ_contracts.people.approvals import Approval, ApprovalMessage, ApprovalReply, SignedApproval
from writ_contracts.people.directory import CredentialEnrolment, DirectoryEntry, PeopleDirectory, SignedEnrolment
from writ_contracts.requests import Request
from writ_contracts.signing import Signed
from writ_contracts.subjects import any_operation_filter
from writ_contracts.wire import canonical, decode_event, encode
from writ_installation.archives.journal import bootstrapped
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.fakes.security_key import SoftwareSecurityKey
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.installations.security_keys import SecurityKeys, security_keys
from writ_trust.approvals import sign_approval, with_evidence
from writ_trust.keys import Key, generate_seed
from writ_trust.people import signed_bytes
from writ_trust.statements import sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELD = ("copilot", "alice", "bob")
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"roles": ["operator", "approver"]},
    "bob": {"roles": ["approver"]},
    "copilot": {"kind": "agent", "roles": ["operator"], "acts_for": "alice"},
}
RULES: list[dict[str, Any]] = [
    {"name": "touched", "operations": ["test_noop"], "allowed": True, "approval": {"proof": "touch"}},
    {"name": "decides", "operations": ["approval_decide", "principal_manage"], "allowed": True},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("closure")
    targets = [local_target("web-1", folder / "files")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(
    installation: RunningInstallation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecurityKeys]:
    """Yield the keys of alice alone: the posture in which she may approve her agent's requests."""
    async with security_keys(installation, tmp_path_factory.mktemp("k")) as made:
        await made.enrol("alice", "alice", posture="solo")
        yield made


async def card_of(writ: Writ, operation_id: str, installation: RunningInstallation) -> Card:
    return await writ.approvals.card(operation_id, [installation.home.key("policy").public])


class Attack:
    """The messages of an attacker who has these keys and full knowledge, but no person's presence."""

    def __init__(self, installation: RunningInstallation, card: Card, earlier: SignedApproval, enrolled: str) -> None:
        self._home = installation.home
        self._card = card
        self._earlier = earlier
        self._enrolled = enrolled
        self._software = SoftwareSecurityKey()

    def messages(self, key: Key) -> Iterator[bytes]:
        """Yield every message that could pass for an approval, an enrolment, or a directory."""
        for approval in self.approvals(key):
            yield encode(ApprovalMessage(principal="copilot", approval=approval))
            yield encode(Approved(**self._event(), approvals=[approval], approver="alice"))
            yield encode(ApprovalGiven(**self._event(), approval=approval, remaining=0, approver="alice"))
        yield encode(self._enrolment())
        yield encode(self._directory(key))
        for operation, parameters in self._controls():
            yield encode(
                Request(target="writ", parameters=parameters, idempotency_key=operation + secrets.token_hex(4))
            )

    def approvals(self, key: Key) -> Iterator[SignedApproval]:
        """Yield approvals by an nkey, by a foreign key under its own and an enrolled id, and of another request."""
        for approver in HELD:
            for proof in ("key", "touch", "verified"):
                statement = self._approval(approver, proof)
                data = b"writ/approval/v1\0" + canonical(statement)
                yield sign_approval(key, statement)
                yield with_evidence(statement, self._software.id, self._software.sign_ssh(data))
                yield with_evidence(statement, self._enrolled, self._software.sign_ssh(data))
                yield with_evidence(statement, self._enrolled, self._software.assertion(data))
                yield structs.replace(self._earlier, payload=Raw(canonical(statement)))
        yield self._earlier

    def _approval(self, approver: str, proof: Any) -> Approval:
        card = self._card
        return Approval(
            operation_id=card.requested.operation_id,
            requested=card.digest,
            decision_digest=card.decision_digest,
            step="touched#1",
            verdict="approve",
            approver=approver,
            issued_at=time.time(),
            nonce=secrets.token_hex(32),
            proof=proof,
            installation=self._home.installation,
        )

    def _event(self) -> dict[str, Any]:
        return {
            "id": secrets.token_hex(16),
            "at": time.time(),
            "correlation_id": "c",
            "operation_id": self._card.requested.operation_id,
        }

    def _enrolment(self) -> SignedEnrolment:
        statement = CredentialEnrolment(
            installation=self._home.installation,
            people_key=self._home.people_key(),
            credential=ssh_credential("alice", self._software.line, "verified"),
            issued_at=time.time(),
            nonce="ab" * 32,
        )
        draft = SignedEnrolment(payload=Raw(canonical(statement)), possession=self._software.sign_ssh(b""))
        return structs.replace(draft, possession=self._software.sign_ssh(signed_bytes(draft)))

    def _directory(self, key: Key) -> Signed:
        entry = DirectoryEntry(enrolment=self._enrolment(), enrolled_at=1.0)
        return sign(key, PeopleDirectory(number=99, at=time.time(), posture="solo", entries=[entry]))

    def _controls(self) -> Iterator[tuple[str, dict[str, Any]]]:
        card = self._card
        yield (
            "approval_decide",
            {
                "operation_id": card.requested.operation_id,
                "decision_digest": card.decision_digest,
                "verdict": "approve",
            },
        )
        yield "principal_manage", {"principal_id": "alice", "action": "change", "roles": ["approver"]}

    def subjects(self, channel: Channel, principal: str) -> list[str]:
        """Return the channel's subjects with interesting names as tokens; the sender's own come first."""
        own = self._card.requested.operation_id
        names = {"operation_id": own, "pool": "local", "target": "web-1", "rest": f"op.copilot.{own}.approved"}
        found: dict[str, None] = {}
        for who in (principal, "copilot", "alice"):
            for operation in ("approval_decide", "test_noop"):
                tokens = {**names, "principal": who, "operation": operation}
                parts = (
                    tokens.get(part.strip("{}"), "x") if "{" in part else part for part in channel.address.split(".")
                )
                found[".".join(parts)] = None
        return list(found)


async def attack_by(bus: Bus, attack: Attack, principal: str, key: Key) -> tuple[int, int]:
    """Send everything as this principal: with a reply where it may send at all. The number sent, and of replies."""
    sent, replies = 0, 0
    everything = list(attack.messages(key))
    for channel in registry.CHANNELS:
        may = Role.PRINCIPAL in channel.senders
        for subject in attack.subjects(channel, principal):
            own = may and f".{principal}" in subject
            for data in everything if channel.name == "approval" else everything[:: len(everything) // 12]:
                sent += 1
                try:
                    if own:
                        await bus.request(subject, data, timeout=5.0)
                        replies += 1
                    else:
                        await bus.publish(subject, data)
                except WritError:
                    continue  # refused by the server: the better
    return sent, replies


async def login(installation: RunningInstallation, principal: str) -> Key:
    key = Key(generate_seed(), installation.home.installation)
    async with await installation.client(principal) as writ:
        opened = await writ.sessions.open(key.public, seconds=600)
    assert opened.view is not None
    assert opened.view.outcome == "succeeded"
    return key


async def verdicts(installation: RunningInstallation, operation_id: str) -> list[SignedApproval]:
    async with bootstrapped(installation.home, installation.url) as bus:
        events = [decode_event(one.data) for one in await bus.journal.read(any_operation_filter(operation_id))]
    found = [one.approvals for one in events if isinstance(one, Approved)]
    found += [[one.approval] for one in events if isinstance(one, ApprovalGiven)]
    return [signed for each in found for signed in each]


@pytest.mark.parametrize("sessions", some([["alice"], [*HELD]], ["alice"]))
async def test_no_key_of_an_agent_makes_an_approval_that_proves_a_presence(
    installation: RunningInstallation, keys: SecurityKeys, sessions: list[str]
) -> None:
    copilot, alice = await installation.client("copilot"), await installation.client("alice")
    before = installation.home.people_file.read_bytes()
    earlier = (await copilot.submit("test_noop", "web-1", {})).operation_id or ""
    card = await card_of(alice, earlier, installation)
    assert (await alice.approvals.approve(card, by=keys.keys["alice"])).state == "approved"
    assert (await copilot.wait(earlier, timeout=20)).outcome == "succeeded"  # her own touch, in `solo`
    waiting = (await copilot.submit("test_noop", "web-1", {})).operation_id or ""
    card, known = await card_of(alice, waiting, installation), await verdicts(installation, earlier)
    attack = Attack(installation, card, known[0], keys.keys["alice"].id)
    own = [(principal, installation.home.key(f"principal-{principal}")) for principal in HELD]
    logged_in = [(principal, await login(installation, principal)) for principal in sessions]
    for principal, key in [*own, *logged_in]:
        context = Context(principal=principal, url=installation.url, installation=installation.home.installation)
        bus = await open_bus(context, key.seed, wait=5.0)
        try:
            sent, replies = await attack_by(bus, attack, principal, key)
        finally:
            await bus.drain(5.0)
        assert sent > 1_000
        assert replies > 100
    assert (await copilot.get(waiting)).state == "awaiting_approval"
    assert await verdicts(installation, waiting) == []
    assert installation.home.people_file.read_bytes() == before

    async def approved(by: Signer | None = None) -> ApprovalReply | None:
        with suppress(Full):  # for a moment after the attack, which sent as many verdicts as she may
            return await alice.approvals.approve(card, by=by)
        return None

    with pytest.raises(Untrusted, match="it needs the proof touch"):
        await eventually(approved)
    reply = await eventually(partial(approved, keys.keys["alice"]))
    assert reply.state == "approved"
    assert (await copilot.wait(waiting, timeout=20)).outcome == "succeeded"
    assert len(await verdicts(installation, waiting)) == 1
    for client in (copilot, alice):
        await client.close()
