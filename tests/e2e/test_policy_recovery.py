"""An installation whose policy does not load, as after an upgrade, is recovered by its owner while Writ is down."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.e2e.stolen_keys import holding

from writ_contracts import subjects
from writ_contracts.journal import ControlEvent
from writ_contracts.policy.versions import PolicyFile
from writ_contracts.wire import decode_event
from writ_installation.administration import policy_recovery
from writ_installation.administration.policy_recovery import recover
from writ_installation.files.lost_policy_key import keep_former_keys
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]
CONTROLS = {
    "name": "controls",
    "operations": ["policy_publish", "policy_rollback", "stop_set", "stop_lift", "journal_archive"],
    "target_roles": ["gateway"],
    "allowed": True,
}


async def test_version_that_a_lost_key_signed_counts(tmp_path: Path) -> None:
    """Policy, which accepts it, refuses a version that skips it."""
    home = prepare(tmp_path)
    lost, bus = Key(generate_seed(), home.installation), MemoryBus()
    version = policy_recovery._version(home, open_policy(CONTROLS), "first", number=1, previous=0)
    of_lost_key = PolicyFile(number=1, previous=0, digest=version.digest, at=version.at)
    signed = structs.replace(version, file=sign(lost, of_lost_key))
    await bus.policies.append(policy_recovery._entry(signed, 0))
    assert await policy_recovery._in_force_and_stored(bus, home) == (0, 1)
    keep_former_keys(home, f"{lost.public}@1")
    assert await policy_recovery._in_force_and_stored(bus, home) == (1, 1)


async def reasons(installation: RunningInstallation) -> list[object]:
    async with holding(installation, "executor") as bus:
        events = [decode_event(one.data) for one in await bus.journal.read(subjects.control_event("policy_file"))]
    return [event.body["reason"] for event in events if isinstance(event, ControlEvent)]


async def test_version_that_does_not_load_is_replaced_while_writ_is_down(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(open_policy(CONTROLS))
    home = prepare(tmp_path, targets=[local_target("web-1", tmp_path / "files")], policy=good.read_text())
    async with running_installation(tmp_path, home=home) as installation:
        await installation.stop()
        # An earlier release accepted this document: a rule for a key that no rule has now.
        unusable = good.read_text().replace("target_roles", "former_key", 1)
        await recover(home, unusable, "accepted by the release before", None, print)
        with pytest.raises(AssertionError, match=r"policy cannot start: .*`writ policy recover FILE --reason …`"):
            await installation.start()
        done = await installation.writ("policy", "recover", str(good), "-r", "rules of the new release")
        assert done.status == 0, done
        assert "version 3 is stored" in done.out
        await installation.start()
        async with await installation.client() as writ:
            assert (version := (await writ.policy_status()).version) is not None
            assert version.number == 3
            assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"

        async def is_recorded() -> bool:
            return "recovered by the owner of the installation: rules of the new release" in await reasons(installation)

        await eventually(is_recorded, what="the control event of the recovered version")
