"""Reads that are dispatched with their request, through real processes: three events in place of four."""

from pathlib import Path

from msgspec import json

from writ_cli.operations.records.timeline import INVALID_SIGNATURE
from writ_testing.installations.installation import local_target, prepare, running_installation


async def test_read_takes_three_events_and_a_change_five(tmp_path: Path) -> None:
    home = prepare(tmp_path, targets=[local_target("web-1", tmp_path / "files")])
    async with running_installation(tmp_path, home=home) as running, await running.client() as writ:
        done = await writ.run("test_noop", "web-1", timeout=30)
        trace = await writ.trace(operation_id=done.operation_id)
        assert [event.kind for event in trace.events] == ["requested", "granted", "finished"]
        path = tmp_path / "files" / "counted"
        changed = await writ.run("test_count", "web-1", {"path": str(path)}, timeout=30)
        trace = await writ.trace(operation_id=changed.operation_id)
        assert [event.kind for event in trace.events] == [
            "requested",
            "lock_taken",
            "dispatched",
            "granted",
            "finished",
        ]
        shown = await running.writ("run", "test_noop", "--target", "web-1", "-o", "json")
        assert shown.status == 0, shown
        shown = await running.writ("trace", json.decode(shown.out)["operation_id"], environ={"COLUMNS": "250"})
        assert "dispatched to local-" in shown.out
        assert INVALID_SIGNATURE not in shown.out
