"""An installation whose policy does not load, as after an upgrade, is recovered by its owner while Writ is down."""

from pathlib import Path

import pytest
from tests.e2e.stolen_keys import holding

from writ_contracts import subjects
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode_event
from writ_installation.administration.policy_recovery import recover
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]
CONTROLS = {
    "name": "controls",
    "operations": ["policy_publish", "policy_rollback", "stop_set", "stop_lift", "journal_archive"],
    "target_roles": ["gateway"],
    "allowed": True,
}


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
        with pytest.raises(AssertionError, match=r"policy cannot start: .*`writ policy recover FILE`"):
            await installation.start()
        done = await installation.writ("policy", "recover", str(good), "-r", "rules of the new release")
        assert done.status == 0, done
        assert "version 3 is stored" in done.out
        await installation.start()
        async with await installation.client() as writ:
            assert [one.number for one in (await writ.policy_history(limit=1)).versions] == [3]
            assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"

        async def is_recorded() -> bool:
            return "recovered by the owner of the installation: rules of the new release" in await reasons(installation)

        await eventually(is_recorded, what="the control event of the recovered version")
