"""Reads that are dispatched with their request, through real processes: three events in place of four."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import json

from writ_cli.operations.records.timeline import INVALID_SIGNATURE
from writ_client.client import Writ
from writ_testing.eventually import eventually
from writ_testing.installations.installation import local_target, prepare, running_installation

THREE = ["requested", "granted", "finished"]
FOUR = ["requested", "dispatched", "granted", "finished"]


def taking(writ: Writ, expected: list[str]) -> Callable[[], Awaitable[bool]]:
    """Return a check that lists the events of a read."""

    async def check() -> bool:
        done = await writ.run("test_noop", "web-1", timeout=30)
        assert done.outcome == "succeeded", done
        trace = await writ.trace(operation_id=done.operation_id)
        return [event.kind for event in trace.events] == expected

    return check


async def test_read_takes_three_events_once_its_agents_are_known(tmp_path: Path) -> None:
    home = prepare(tmp_path, targets=[local_target("web-1", tmp_path / "files")])
    async with running_installation(tmp_path, home=home) as running, await running.client() as writ:
        await eventually(taking(writ, THREE), what="that a read takes three events")
        path = tmp_path / "files" / "counted"
        changed = await writ.run("test_count", "web-1", {"path": str(path)}, timeout=30)
        trace = await writ.trace(operation_id=changed.operation_id)
        assert [event.kind for event in trace.events] == ["requested", "lock_taken", *FOUR[1:]]
        shown = await running.writ("run", "test_noop", "--target", "web-1", "-o", "json")
        assert shown.status == 0, shown
        shown = await running.writ("trace", json.decode(shown.out)["operation_id"], environ={"COLUMNS": "250"})
        assert "dispatched to local-" in shown.out
        assert INVALID_SIGNATURE not in shown.out
