"""The options for a browser that makes a passkey, and the request with its answer, where its maker is unknown."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs

from writ_client.people.passkeys import PREFERRED, creation_options, read_registration, request_options
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.attestations import RelyingParty
from writ_contracts.people.credentials import Proof
from writ_testing.each_case import each_case
from writ_testing.fakes.attestation_authority import AttestationAuthority, passkey_attestation, registration
from writ_testing.fakes.security_key import PRESENT, VERIFIED, RsaPasskey, SoftwareSecurityKey
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare
from writ_trust.presence.authenticator_data import BACKUP_ELIGIBLE
from writ_trust.presence.passkeys import decoded
from writ_trust.presence.proofs import verify_proof


@pytest_asyncio.fixture
async def installation(tmp_path: Path) -> AsyncIterator[RunningInstallation]:
    """Yield one that does not run, with a relying party: these commands work on files."""
    home = prepare(tmp_path, targets=[], policy=open_policy(), principals=[("carol", {"roles": ["approver"]})])
    made = RunningInstallation(home, {}, ())
    await made.json("credential", "relying-party", "writ.example", "https://writ.example")
    yield made


async def options(installation: RunningInstallation) -> dict[str, Any]:
    found: dict[str, Any] = (await installation.json("credential", "challenge", "carol"))["publicKey"]
    return found


async def test_browser_is_asked_for_an_attestation_while_a_root_is_recorded(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    assert (await options(installation))["attestation"] == "none"
    (tmp_path / "root.pem").write_bytes(AttestationAuthority().pem)
    await installation.json("credential", "root", "add", str(tmp_path / "root.pem"))
    assert (await options(installation))["attestation"] == "direct"
    root = (await installation.json("credential", "root", "list"))[0]
    await installation.json("credential", "root", "remove", root["fingerprint"])
    assert (await options(installation))["attestation"] == "none"


async def request_of(
    installation: RunningInstallation, folder: Path, maker: AttestationAuthority, **changed: Any
) -> tuple[str, ...]:
    """Return the words that request a passkey by this maker. `changed`: of its attestation."""
    key, challenge = SoftwareSecurityKey("ecdsa"), decoded((await options(installation))["challenge"])
    made = passkey_attestation(maker.device(), key, challenge, person="carol", **changed)
    (folder / "created.json").write_text(json.dumps(registration(made, key, "carol")))
    browser = ("--proof", "verified", "--registration", str(folder / "created.json"))
    return ("credential", "request", "carol", str(folder / "carol.json"), *browser)


async def test_passkey_of_an_unknown_maker_is_requested_as_unattested(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    words = await request_of(installation, tmp_path, AttestationAuthority())
    refused = await installation.writ(*words)
    assert (refused.status, "`--unattested` requests the passkey" in refused.err) == (6, True), refused
    requested = await installation.json(*words, "--unattested")
    assert (requested["attestation"], requested["credential"]["person"]) == (False, "carol")


async def test_passkey_with_an_attestation_that_does_not_hold_is_not_requested_as_unattested(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    """Leaving out an attestation is for makers that nobody recorded, not for forged ones."""
    maker = AttestationAuthority()
    (tmp_path / "root.pem").write_bytes(maker.pem)
    await installation.json("credential", "root", "add", str(tmp_path / "root.pem"))
    forged = {"alg": -7, "sig": maker.sign(b"another"), "x5c": [maker.device().der]}
    for changed, problem in (
        ({"statement": forged}, "the attestation's signature does not hold"),
        ({"flags": PRESENT | VERIFIED | BACKUP_ELIGIBLE}, "the passkey may be copied"),
    ):
        refused = await installation.writ(*await request_of(installation, tmp_path, maker, **changed))
        assert (refused.status, problem in refused.err, "--unattested" in refused.err) == (6, True, False), refused


async def test_attestation_of_a_security_key_is_not_left_out_in_silence(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    words = ("credential", "request", "carol", str(tmp_path / "carol.json"), "--ssh-key", "id", "--attestation", "made")
    refused = await installation.writ(*words, "--unattested")
    assert (refused.status, "--unattested leaves out the attestation" in refused.err) == (2, True), refused


@pytest.mark.parametrize(("proof", "which"), [("key", "passkey"), ("verified", "passkey that proves verified")])
def test_challenge_without_a_passkey_names_the_proof_that_none_gives(proof: Proof, which: str) -> None:
    with pytest.raises(Invalid, match=f"^no {which} is enrolled: "):
        request_options(b"", [], proof)


PARTY = RelyingParty(rp_id="writ.example", origin="https://writ.example", recorded_at=1.0)
BY_ALGORITHM = {-8: SoftwareSecurityKey(), -7: SoftwareSecurityKey("ecdsa"), -257: RsaPasskey()}


@each_case("algorithm", PREFERRED)
def test_passkey_of_each_offered_algorithm_is_enrolled_and_verified(algorithm: int) -> None:
    key = BY_ALGORITHM[algorithm]
    offered = creation_options(b"c" * 32, "carol", PARTY, [], attested=False)["pubKeyCredParams"]
    assert {"type": "public-key", "alg": algorithm} in offered
    made = passkey_attestation(
        AttestationAuthority().device(), key, b"c" * 32, person="carol", form="none", statement={}
    )
    answer = json.dumps(registration(made, key, "carol")).encode()
    credential, attestation = read_registration(answer, "carol", "verified", [PARTY], b"c" * 32)
    expected = structs.replace(key.passkey_credential("carol"), id=credential.id)
    assert (credential, attestation) == (expected, None)
    evidence = key.assertion(b"approve", person="carol")
    assert verify_proof("verified", evidence, credential, b"approve").credential == credential.id


def test_passkey_of_another_algorithm_is_refused_by_name() -> None:
    made = passkey_attestation(AttestationAuthority().device(), Es384Passkey(), b"c" * 32, person="carol")
    answer = json.dumps(registration(made, SoftwareSecurityKey(), "carol")).encode()
    expected = r"none of Ed25519 \(-8\), ECDSA on P-256 \(-7\) and RSA with SHA-256 \(-257\)"
    with pytest.raises(Untrusted, match=expected):
        read_registration(answer, "carol", "verified", [PARTY], b"c" * 32)


class Es384Passkey(SoftwareSecurityKey):
    @property
    def cose(self) -> dict[int, Any]:
        """A point of the curve P-384."""
        return {1: 2, 3: -35, -1: 2, -2: bytes(48), -3: bytes(48)}
