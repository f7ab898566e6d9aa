"""Stolen keys after their rotation, with the executors' key beside them: they sign nothing new, and earlier signatures
still hold.
"""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.rogue import Rogue, alarm, events
from tests.e2e.stolen_keys import KEY, holding, robbed, subject

from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.decisions import Decision, PolicyVersion, Subject
from writ_contracts.journal import Granted
from writ_contracts.signing import Signed
from writ_testing.installations.installation import RunningInstallation
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key
from writ_trust.statements import sign

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]
VERSION = PolicyVersion(
    name="forged", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("rotated")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def before(installation: RunningInstallation) -> AsyncIterator[tuple[str, Key]]:
    """Yield an operation granted by policy's key before its theft and rotation, and the key."""
    stolen = installation.home.key("policy")
    async with await installation.client("alice") as alice:
        done = await alice.run("test_noop", "web-1")
    ended = await installation.writ("keys", "rotate", "policy", "--settle", "0s")
    assert ended.status == 0, ended
    yield done.operation_id, stolen


def forged(stolen: Key, about: Subject) -> Signed:
    """Return a forged decision on the operation."""
    return sign(
        stolen,
        Decision(
            operation_id=about.operation_id,
            principal="alice",
            operation=about.operation,
            target="web-1",
            effect="allow",
            code="allowed",
            rules=["forged"],
            reason="forged",
            parameters_digest=keyed_digest(KEY, about.parameters),
            policy=VERSION,
            control_sequence=0,
            at=time.time(),
            authenticated="server",
        ),
    )


async def test_policys_rotated_key_starts_nothing_and_is_a_security_event(
    installation: RunningInstallation, before: tuple[str, Key], files: Path
) -> None:
    about = subject(installation, "file_write", "web-1", {"file_path": str(files / "never"), "content": "x"})
    async with holding(installation, "executor") as bus:
        rogue = Rogue(bus)
        with installation.paused("executor"):
            await rogue.listen()
            await rogue.append(about, rogue.requested(about, forged(before[1], about)))
            await rogue.dispatch(about)
            await rogue.answered(1)
        assert [answer.error.code for answer in rogue.answers if answer.error] == ["forged_start"]
        own = subjects.operation_filter("alice", about.operation_id)
        assert not any(isinstance(event, Granted) for event in await events(bus, own))
        await alarm(bus, "forged_start", about.operation_id)  # by policy
        await alarm(bus, "broken_record", about.operation_id, "counts until event")  # by audit
    assert not (files / "never").exists()


async def test_signature_of_a_rotated_key_from_before_still_holds(
    installation: RunningInstallation, before: tuple[str, Key]
) -> None:
    traced = await installation.writ("trace", before[0], "--as", "alice")
    assert traced.status == 0, traced
    assert "INVALID SIGNATURE" not in traced.out
    listed = json.loads((await installation.writ("keys", "list", "-o", "json")).out)["keys"]
    [entry] = [one for one in listed if one["public"] == before[1].public]
    assert entry["state"] == "former"
    assert entry["last_event"] > 0


async def test_operations_go_on_after_the_rotation(
    installation: RunningInstallation, before: tuple[str, Key], alice: Writ
) -> None:
    assert before
    assert (await alice.run("test_noop", "web-1")).outcome == "succeeded"
