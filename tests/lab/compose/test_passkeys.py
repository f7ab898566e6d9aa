"""Passkeys in containers: enrolled and used by the commands of docs/approvals.md, with files of the folder."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.test_passkeys import asserted
from tests.lab.compose.composed import UID, Composed, cloned
from tests.lab.compose.conftest import SANDBOX, as_the_demo
from tests.lab.engine import Engine

from writ_testing.demo import POLICY, TARGET
from writ_testing.fakes.attestation_authority import AttestationAuthority, passkey_attestation, registration
from writ_testing.fakes.security_key import RsaPasskey
from writ_trust.presence.passkeys import decoded

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
PERSON, PASSKEY = "carol", RsaPasskey()


@pytest.fixture
def verified(composed: Composed, docker: Engine) -> Iterator[Composed]:
    """Yield a separate installation with the existing images, where copies need an approval with PIN or biometrics.

    An enrolled credential stays in the record of every later decision.
    """
    with cloned(docker, "writ-passkeys", offset=300) as made:
        try:
            made.type('docker compose run --rm --user "$(id -u):$(id -g)" init')
            as_the_demo(made)
            made.home.policy.write_text(POLICY.replace("timeout: 10m}", "timeout: 10m, proof: verified}"))
            made.up(agent_ssh=0, prometheus=0, alertmanager=0)
            yield made
        finally:
            print(made.type("docker compose logs --no-color --tail 100"))
            made.down()


def challenge(composed: Composed, *words: str) -> dict[str, Any]:
    """Return the options that a browser gets, from the file into which the shell wrote them."""
    composed.type(f"docker compose run --rm -T writ {' '.join(words)} -o json > options.json")
    options: dict[str, Any] = json.loads((composed.folder / "options.json").read_text())["publicKey"]
    return options


def enrol(composed: Composed) -> None:
    composed.writ("principal", "add", PERSON, "--role", "approver")
    composed.writ("credential", "relying-party", "writ.example", "https://writ.example")
    options = challenge(composed, "credential", "challenge", PERSON)
    device = AttestationAuthority().device()
    made = passkey_attestation(device, PASSKEY, decoded(options["challenge"]), person=PERSON, form="none", statement={})
    (composed.folder / "created.json").write_text(json.dumps(registration(made, PASSKEY, PERSON)))
    browser = ("--registration", "created.json", "--proof", "verified")
    composed.writ("credential", "request", PERSON, "carol.json", *browser)
    asserted(
        PERSON, PASSKEY, challenge(composed, "credential", "challenge", "--request", "carol.json"), composed.folder
    )
    composed.writ("credential", "prove", "carol.json", "--assertion", "assertion.json")
    composed.writ("credential", "enrol", "carol.json", "--people-key", ".writ/people/people.seed")


async def test_passkey_is_enrolled_and_approves_by_files_of_this_folder(verified: Composed) -> None:
    enrol(verified)
    source = verified.folder / "writ-sandbox" / "source"
    source.write_text("words\n")
    shutil.chown(source, UID, UID)
    copy = {"source_path": f"{SANDBOX}/source", "dest_path": f"{SANDBOX}/copied"}
    async with await verified.client() as writ:
        answer = await writ.submit("file_copy", TARGET, copy, reason="a test")
        assert answer.state == "awaiting_approval", answer
        number = answer.operation_id or ""
        asserted(
            PERSON, PASSKEY, challenge(verified, "approvals", "challenge", number, "--as", PERSON), verified.folder
        )
        browser = ("--challenge", "options.json", "--assertion", "assertion.json")
        verified.writ("approvals", "approve", number, "--as", PERSON, "--yes", *browser)
        assert (await writ.wait(number, timeout=30)).outcome == "succeeded"
