"""Passkeys and attestations, end to end by the commands: the browser is a software key and a maker of its own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_contracts.decisions import Grant
from writ_contracts.journal import Approved, Granted
from writ_contracts.people.credentials import PasskeyEvidence, Presence
from writ_contracts.subjects import any_operation_filter
from writ_contracts.wire import decode_event
from writ_installation.archives.journal import bootstrapped
from writ_testing.eventually import eventually
from writ_testing.fakes.attestation_authority import (
    AttestationAuthority,
    passkey_attestation,
    registration,
    ssh_attestation,
)
from writ_testing.fakes.security_key import RsaPasskey, SoftwareSecurityKey
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.installations.security_keys import SecurityKeys, security_keys
from writ_testing.peers.programs import program
from writ_trust.presence.passkeys import decoded
from writ_trust.statements import read

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive, pytest.mark.timeout(240)]
RULE = {
    "name": "vouched",
    "operations": ["test_noop"],
    "allowed": True,
    "approval": {"proof": "verified", "attested": True},
}
ADMIN = {"name": "admin", "operations": ["journal_archive"], "user_roles": ["admin"], "allowed": True}
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"roles": ["operator"]},
    "bob": {"roles": ["approver"]},
    "carol": {"roles": ["approver"]},
    "dave": {"roles": ["approver"]},
}
PASSKEYS = {"carol": SoftwareSecurityKey("ecdsa"), "dave": RsaPasskey()}
MAKER = AttestationAuthority()
DEVICE = MAKER.device()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("passkeys")
    targets = [local_target("web-1", folder / "files")]
    home = prepare(folder, targets=targets, policy=open_policy(RULE, ADMIN), principals=list(PEOPLE.items()))
    environ = {"WRIT_SWEEP": "0.5", "WRIT_JOURNAL_KEEP": "0.01"}
    async with running_installation(folder, home=home, environ=environ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(
    installation: RunningInstallation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecurityKeys]:
    """Bob's security key, enrolled as unattested; relying party and root, recorded by the people-key."""
    program("ssh-keygen")
    folder = tmp_path_factory.mktemp("k")
    (folder / "root.pem").write_bytes(MAKER.pem)
    async with security_keys(installation, folder) as made:
        await made.done("credential", "relying-party", "writ.example", "https://writ.example")
        await made.done("credential", "root", "add", str(folder / "root.pem"))
        await made.done("credential", "enrol", str(await made.request("bob", "bob", "--proof", "verified")))
        yield made


async def test_a_demand_for_attested_credentials_refuses_unattested_ones(
    installation: RunningInstallation, keys: SecurityKeys
) -> None:
    alice = await installation.client("alice")
    try:
        ended = await alice.run("test_noop", "web-1", timeout=20)
        assert (ended.outcome, ended.code) == ("denied", "approval_unavailable"), ended
    finally:
        await alice.close()


@pytest.mark.parametrize("person", PASSKEYS)
async def test_a_passkey_is_enrolled_and_approves_by_the_json_of_a_browser(
    installation: RunningInstallation, keys: SecurityKeys, tmp_path: Path, person: str
) -> None:
    passkey = PASSKEYS[person]
    alice = await installation.client("alice")
    try:
        await enrol(keys, person, passkey, tmp_path)
        answer = await alice.submit("test_noop", "web-1", {})
        assert answer.state == "awaiting_approval", answer
        operation_id = answer.operation_id or ""
        approved = await approve(keys, person, operation_id, passkey, tmp_path)
        assert (approved.status, "approved" in approved.out) == (0, True), approved
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
    finally:
        await alice.close()
    async with bootstrapped(installation.home, installation.url) as bus:
        events = [decode_event(one.data) for one in await bus.journal.read(any_operation_filter(operation_id))]
    recorded = next(event for event in events if isinstance(event, Approved))
    assert isinstance(recorded.approvals[0].evidence, PasskeyEvidence)
    granted = next(read(event.grant, Grant) for event in events if isinstance(event, Granted))
    assert granted.proven == [Presence("verified", attested=True)]  # the agent verified it again before it acted


async def enrol(keys: SecurityKeys, person: str, passkey: SoftwareSecurityKey, folder: Path) -> None:
    """Enrol a passkey of this person, which bob endorses."""
    options = (await keys.done("credential", "challenge", person))["publicKey"]
    assert options["rp"]["id"] == "writ.example"
    made = passkey_attestation(DEVICE, passkey, decoded(options["challenge"]), person=person)
    answer, request = folder / "registration.json", folder / "request.json"
    answer.write_text(json.dumps(registration(made, passkey, person)))
    words = ("--registration", str(answer), "--proof", "verified")
    assert (await keys.done("credential", "request", person, str(request), *words))["attestation"] is True
    unsigned = await keys.writ("credential", "enrol", str(request))
    assert unsigned.status != 0, unsigned
    options = (await keys.done("credential", "challenge", "--request", str(request)))["publicKey"]
    await keys.done("credential", "prove", str(request), "--assertion", str(asserted(person, passkey, options, folder)))
    await keys.done("credential", "endorse", str(request), "--ssh-key", str(keys.file("bob")), "--yes")
    await keys.done("credential", "enrol", str(request))


async def approve(
    keys: SecurityKeys, person: str, operation_id: str, passkey: SoftwareSecurityKey, folder: Path
) -> Any:
    """Approve as this person, after assertions of another passkey and over another challenge were refused."""
    challenge = folder / "challenge.json"
    result = await keys.writ("approvals", "challenge", operation_id, "--as", person, "-o", "json")
    assert result.status == 0, result
    challenge.write_text(result.out)
    options = json.loads(result.out)["publicKey"]
    words = ("approvals", "approve", operation_id, "--as", person, "--yes", "--challenge", str(challenge))
    other = asserted(person, SoftwareSecurityKey(), options, folder)
    refused = await keys.writ(*words, "--assertion", str(other))
    assert (refused.status != 0, "signature is not valid" in refused.err) == (True, True), refused
    another = asserted(person, passkey, {**options, "challenge": "A" * 43}, folder)
    refused = await keys.writ(*words, "--assertion", str(another))
    assert (refused.status != 0, "another challenge" in refused.err) == (True, True), refused
    return await keys.writ(*words, "--assertion", str(asserted(person, passkey, options, folder)))


def asserted(person: str, passkey: SoftwareSecurityKey, options: dict[str, Any], folder: Path) -> Path:
    """Return the result of `PublicKeyCredential.toJSON()` after `get` with these options."""
    evidence = passkey.assertion(b"", person=person, client={"challenge": options["challenge"]})
    file = folder / "assertion.json"
    response = {
        "clientDataJSON": evidence.client_data,
        "authenticatorData": evidence.authenticator_data,
        "signature": evidence.signature,
        "userHandle": "Y2Fyb2w",
    }
    shown = {"id": evidence.credential_id, "rawId": evidence.credential_id, "type": "public-key", "response": response}
    file.write_text(json.dumps({**shown, "clientExtensionResults": {}, "authenticatorAttachment": "platform"}))
    return file


async def test_a_security_key_is_enrolled_with_the_attestation_of_ssh_keygen(
    installation: RunningInstallation, keys: SecurityKeys, tmp_path: Path
) -> None:
    challenge, file = tmp_path / "challenge", tmp_path / "attestation"
    await keys.done("credential", "challenge", "bob", "--ssh", str(challenge))
    key = keys.add("attested")
    request = tmp_path / "bob.json"
    words = ("credential", "request", "bob", str(request), "--proof", "verified", "--attestation", str(file))
    for device, why in ((AttestationAuthority().device(), "no recorded root issued"), (DEVICE, "")):
        file.write_bytes(decoded(ssh_attestation(device, key, challenge.read_bytes()).data))
        ended = await keys.writ(*words, "--ssh-key", str(keys.file("attested")))
        assert (ended.status == 0, why in ended.err) == (not why, True), ended
    options = (await keys.done("credential", "challenge", "--request", str(request)))["publicKey"]
    assert len(options["allowCredentials"]) == 2, options  # carol's and dave's, to endorse it
    endorsed = asserted("carol", PASSKEYS["carol"], options, tmp_path)
    await keys.done("credential", "endorse", str(request), "--assertion", str(endorsed), "--yes")
    await keys.done("credential", "enrol", str(request))
    listed = (await keys.done("credential", "list"))["credentials"]
    assert [(one["credential"]["person"], one["device"] != "") for one in listed] == [
        ("bob", False),
        ("carol", True),
        ("dave", True),
        ("bob", True),
    ]


async def test_an_archive_with_approvals_by_passkeys_is_verified(
    installation: RunningInstallation, keys: SecurityKeys, tmp_path: Path
) -> None:
    async with await installation.client() as writ:
        last = (await writ.journal()).last

        async def archivable() -> bool:
            return (await writ.journal()).cut >= last - 5

        await eventually(archivable, within=40, what="that the approvals can be archived")
    archive = tmp_path / "one.writ"
    await keys.done("journal", "archive", str(archive), "--reason", "a test")
    verified = await keys.writ("journal", "verify", str(archive))
    assert (verified.status, "as they were stored" in verified.out) == (0, True), verified
