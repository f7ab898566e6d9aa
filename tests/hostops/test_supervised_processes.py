"""Processes behind one kept connection: reads and changes of files follow each other in one, any other change has its
own.
"""

import json
import os
import signal
from pathlib import Path

from tests.hostops.supervised_client import WITHIN, Kept

from writ_hostops.supervised import frames
from writ_hostops.supervised.supervisor import MOST_AT_ONCE, MOST_SPARES, MOST_USES
from writ_testing.eventually import eventually

LONG = "é" * 300_000


def long_change(tag: int) -> tuple[bytes, bytes]:
    """A request with an attached text, cut inside the text."""
    bare = {"id": f"long{tag}", "action": "run", "operation": "test_length", "target": {}, "timeout": 30.0}
    data = frames.pack(frames.REQUEST, {"request": bare, "parameters": {"text": LONG}, "tag": tag})
    return data[:-400_001], data[-400_001:]


def test_attachment_is_passed_on_in_pieces_while_other_requests_go_on(kept: Kept, tmp_path: Path) -> None:
    running = kept.begin("test_wait_for", path=str(tmp_path / "go"))
    first, rest = long_change(1000)
    kept.write(first)
    (tmp_path / "go").touch()
    assert kept.result(running)["outcome"] == "succeeded"
    kept.write(rest)
    result = kept.result(1000)
    assert result["output"] == {"length": len(LONG)}, result
    assert kept.pid()


def test_rest_of_an_attachment_is_dropped_once_its_process_is_gone(kept: Kept) -> None:
    waiting = kept.pid()  # the next request is this process's
    first, rest = long_change(1000)
    kept.write(first)
    os.kill(waiting, signal.SIGKILL)
    assert kept.result(1000)["gone"]
    kept.write(rest)
    assert kept.pid() != waiting


def test_change_whose_request_is_not_whole_ends_with_the_connection(kept: Kept) -> None:
    kept.write(long_change(1000)[0])  # the fixture waits for the end of the process


def test_reads_follow_each_other_in_one_process(kept: Kept) -> None:
    assert len({kept.pid() for _ in range(20)}) == 1


async def test_change_has_a_process_of_its_own_which_ends_with_it(kept: Kept) -> None:
    pids = [kept.pid("test_change") for _ in range(5)]
    assert len(set(pids)) == 5
    assert kept.pid() not in pids

    async def gone() -> bool:
        return not set(map(str, pids)) & set(kept.children())

    await eventually(gone)


def test_process_stops_searching_after_a_while(kept: Kept) -> None:
    pids = [kept.pid() for _ in range(2 * MOST_USES + 1)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [MOST_USES, MOST_USES, 1]


def test_concurrent_jobs_have_a_process_each_and_some_are_kept(kept: Kept, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    tags = [kept.begin("test_wait_for", path=str(go_on)) for _ in range(3 * MOST_SPARES)]
    reported: dict[int, int] = {}
    waiting = 0
    while len(reported) < len(tags):
        frame = kept.next()
        waiting += frame.kind == frames.PROGRESS
        if waiting == len(tags):
            go_on.touch()
        if frame.kind == frames.RESULT:
            message = frame.message()
            reported[message["tag"]] = message["output"]["pid"]
    assert len(set(reported.values())) == len(tags)
    kept.pid()
    assert len(kept.children()) <= MOST_SPARES


def test_stopped_child_does_not_read_another_request(kept: Kept) -> None:
    before = kept.pid()
    tag = kept.begin("test_wait", seconds=60)
    while kept.next().kind != frames.PROGRESS:
        pass
    kept.post(frames.STOP, {"of": tag, "grace": 5.0})
    reported = kept.result(tag)
    assert reported["code"] == "cancelled"
    assert kept.pid() != before


def test_stopped_child_that_ended_is_removed_at_once(kept: Kept) -> None:
    tag = kept.begin("test_wait", seconds=60)
    while kept.next().kind != frames.PROGRESS:
        pass
    stop = kept.post(frames.STOP, {"of": tag, "grace": 10 * WITHIN})
    assert kept.result(tag)["code"] == "cancelled"
    assert kept.result(stop)["certain"] is True


def test_process_is_reused_after_a_timeout(kept: Kept) -> None:
    reported = kept.result(kept.begin("test_wait", timeout=0.2, seconds=60))
    assert reported["code"] == "timeout"
    assert kept.pid() == kept.pid()


def test_killed_idle_process_fails_one_request_at_most(kept: Kept) -> None:
    os.kill(kept.pid(), signal.SIGKILL)
    reported = kept.result(kept.begin("test_look"))
    assert reported.get("gone") is True or reported["outcome"] == "succeeded", json.dumps(reported)
    assert kept.pid() == kept.pid()


def test_request_beyond_the_bound_fails_without_effect(kept: Kept, tmp_path: Path) -> None:
    under_way = [kept.begin("test_wait_for", path=f"{tmp_path}/go") for _ in range(MOST_AT_ONCE)]
    reported = kept.result(kept.begin("test_change"))
    assert (reported["outcome"], reported["code"], reported["effect"], reported["certain"]) == (
        "failed",
        "busy",
        "none",
        True,
    )
    assert kept.result(kept.post(frames.SETTLE, {"id": "never-seen", "attempt": 1}))["seen"] == "never"
    (tmp_path / "go").touch()
    assert kept.result(under_way[-1])["outcome"] == "succeeded"


def test_a_host_without_a_process_to_give_goes_on_with_what_runs_and_refuses_the_rest(
    kept: Kept, tmp_path: Path
) -> None:
    (tmp_path / "marks.full").touch()
    under_way = kept.begin("test_wait_for", path=f"{tmp_path}/go")
    reported = kept.result(kept.begin("test_change"))
    assert (reported["outcome"], reported["code"], reported["effect"]) == ("failed", "unavailable", "none")
    assert kept.result(kept.post(frames.PING, {})) == {"tag": 3}
    (tmp_path / "go").touch()
    assert kept.result(under_way)["outcome"] == "succeeded"
    (tmp_path / "marks.full").unlink()
    assert kept.pid()
