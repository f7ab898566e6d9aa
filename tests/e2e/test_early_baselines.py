"""Changes whose baseline is read before their dispatch, through real processes."""

from pathlib import Path

from msgspec import json

from writ_client.client import Writ
from writ_contracts.agents import Claim
from writ_contracts.signing import Signed
from writ_testing.eventually import eventually
from writ_testing.installations.installation import local_target, prepare, running_installation
from writ_trust.statements import read


async def test_dispatch_confirms_an_early_baseline_once_the_agent_and_the_lock_are_known(tmp_path: Path) -> None:
    home = prepare(tmp_path, targets=[local_target("web-1", tmp_path / "files")])
    async with running_installation(tmp_path, home=home) as running, await running.client() as writ:

        async def confirmed() -> bool:
            return await noticed(writ, tmp_path / "files" / "counted")

        await eventually(confirmed, what="that a dispatch confirms a notice")
        assert (tmp_path / "files" / "counted").exists()


async def noticed(writ: Writ, path: Path) -> bool:
    """Make a change. Return whether its dispatch confirms a notice."""
    done = await writ.run("test_count", "web-1", {"path": str(path)}, timeout=30)
    assert done.outcome == "succeeded", done
    trace = await writ.trace(operation_id=done.operation_id)
    [dispatched] = [event.body for event in trace.events if event.kind == "dispatched"]
    [granted] = [event.body for event in trace.events if event.kind == "granted"]
    assert read(json.decode(json.encode(granted["claim"]), type=Signed), Claim).baseline
    return bool(dispatched["noticed"])
