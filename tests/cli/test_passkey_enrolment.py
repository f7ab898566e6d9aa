"""The options for a browser that makes a passkey, and the request with its answer, where its maker is unknown."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_client.people.passkeys import request_options
from writ_contracts.errors import Invalid
from writ_contracts.people.credentials import Proof
from writ_testing.fakes.attestation_authority import AttestationAuthority, passkey_attestation, registration
from writ_testing.fakes.security_key import SoftwareSecurityKey
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare
from writ_trust.presence.passkeys import decoded


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


async def test_passkey_of_an_unknown_maker_is_requested_as_unattested(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    key, challenge = SoftwareSecurityKey("ecdsa"), decoded((await options(installation))["challenge"])
    made = passkey_attestation(AttestationAuthority().device(), key, challenge, person="carol")
    (tmp_path / "created.json").write_text(json.dumps(registration(made, key, "carol")))
    browser = ("--proof", "verified", "--registration", str(tmp_path / "created.json"))
    words = ("credential", "request", "carol", str(tmp_path / "carol.json"), *browser)
    refused = await installation.writ(*words)
    assert (refused.status, "`--unattested` requests the passkey" in refused.err) == (6, True), refused
    requested = await installation.json(*words, "--unattested")
    assert (requested["attestation"], requested["credential"]["person"]) == (False, "carol")


@pytest.mark.parametrize(("proof", "which"), [("key", "passkey"), ("verified", "passkey that proves verified")])
def test_challenge_without_a_passkey_names_the_proof_that_none_gives(proof: Proof, which: str) -> None:
    with pytest.raises(Invalid, match=f"^no {which} is enrolled: "):
        request_options(b"", [], proof)
