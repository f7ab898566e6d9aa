"""A copy of an installation has the same keys and files, but each refuses statements signed for the other."""

import secrets
import time
from pathlib import Path

import pytest
from tests.attacks.rogue import events
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_contracts import subjects
from writ_contracts.agents import Claim, ClaimMessage, ClaimReply, Receipt
from writ_contracts.decisions import Decision, Grant
from writ_contracts.ids import operation_id
from writ_contracts.journal import Finished, Granted, Requested
from writ_contracts.requests import RequestReply, RequestStatement
from writ_contracts.wire import decode, encode
from writ_installation.initialise import upgrade
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation
from writ_trust.keys import Key
from writ_trust.sealing import SealKey
from writ_trust.statements import read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
COPY = "copy" + 22 * "a"


@pytest.mark.parametrize("elsewhere", [COPY, ""], ids=["another installation", "no installation"])
async def test_a_request_signed_for_another_installation_is_refused(
    installation: RunningInstallation, files: Path, elsewhere: str
) -> None:
    (files / "kept").write_text("kept")
    seed, number = installation.home.seed_file("principal-alice").read_bytes(), secrets.token_hex(8)
    request = request_signing.unsigned("web-1", {"file_path": str(files / "kept")}, idempotency_key=number)
    salt, key = request_signing.new_salt(), Key(seed, elsewhere)
    signed = request_signing.signed(request, key, "alice", "file_delete", salt=salt, now=time.time())
    async with holding(installation, "principal-alice") as bus:
        reply = await bus.request(subjects.request("alice", "file_delete"), encode(signed), timeout=20)
    answer = decode(reply.data, RequestReply)
    assert answer.outcome == "invalid"
    assert answer.error is not None
    assert answer.error.code == "other_installation", answer
    assert (files / "kept").read_text() == "kept"


async def test_a_claim_signed_for_another_installation_gets_no_grant(installation: RunningInstallation) -> None:
    claim = Claim(
        operation_id=operation_id("alice", secrets.token_hex(8)),
        attempt=1,
        pool="a",
        instance="one",
        nonce=secrets.token_hex(32),
        seal_to=SealKey().public,
    )
    seed = installation.home.seed_file("agent-a").read_bytes()
    async with holding(installation, "agent-a") as bus:
        message = ClaimMessage(claim=sign(Key(seed, COPY), claim), principal="alice")
        answer = decode((await bus.request(subjects.claim("a"), encode(message), timeout=20)).data, ClaimReply)
    assert answer.grant is None
    assert answer.error is not None
    assert answer.error.code == "forged_claim"
    assert f"is for installation {COPY}" in answer.error.message


async def test_every_signed_statement_of_an_operation_names_its_installation(
    installation: RunningInstallation, alice: Writ
) -> None:
    done = await alice.run("test_noop", "web-1")
    assert done.outcome == "succeeded"
    async with holding(installation, "bootstrap") as bus:
        found = await events(bus, subjects.operation_filter("alice", done.operation_id))
    named = []
    for event in found:
        match event:
            case Requested():
                assert event.statement is not None
                named += [read(event.decision, Decision), read(event.statement, RequestStatement)]
            case Granted():
                named += [read(event.claim, Claim), read(event.grant, Grant), read(event.decision, Decision)]
            case Finished():
                assert event.receipt is not None
                named.append(read(event.receipt, Receipt))
            case _:
                pass
    assert [one.installation for one in named] == 6 * [installation.home.installation]


async def test_an_earlier_installation_gets_an_id_and_keeps_its_record_and_policy(tmp_path: Path) -> None:
    home = prepare(tmp_path, principals=[("alice", {})])
    home.installation_file.unlink()
    document = home.policy.read_bytes()
    assert [line.partition(":")[0] for line in upgrade(home.root)] == [str(home.installation_file)]
    assert upgrade(home.root) == []
    before = home.installation_file.read_text()
    async with running_installation(tmp_path, home=home) as running, await running.client("alice") as client:
        assert (await client.run("test_noop", "web-1")).outcome == "succeeded"
    assert (home.policy.read_bytes(), home.installation_file.read_text()) == (document, before)
