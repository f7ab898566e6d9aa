"""Processes behind one kept connection: reads and changes of files follow each other in one, any other change has its
own.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from writ_hostops.supervised import frames
from writ_hostops.supervised.supervisor import MOST_AT_ONCE, MOST_SPARES, MOST_USES
from writ_testing.eventually import eventually

SERVED = """
import os, signal, sys, time
from writ_hostops.supervised import supervisor
from writ_hostops.supervised.child import HostFolders
from writ_hostops.supervised.supervisor import ChildSupervisor
from writ_hostops.operations import HANDLERS
from writ_hostops.protocol import HostReply

def me(call):
    return HostReply(output={"pid": os.getpid(), "mark": os.environ["WRIT_OPERATION_ID"]})

def wait(call):
    call.progress("waiting")
    call.stop.wait(float(call.parameters["seconds"]))
    return me(call)

def wait_for(call):
    call.progress("waiting")
    while not os.path.exists(call.parameters["path"]):
        call.stop.wait(0.02)
    return me(call)

fork = supervisor.fork

def fork_if_there_is_room(place):
    if os.path.exists(sys.argv[1] + ".full"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork(place)

supervisor.fork = fork_if_there_is_room
fsync = os.fsync

def sync_unless_held(fd):
    is_end = os.readlink(f"/proc/self/fd/{fd}").endswith(".ended.tmp")
    while is_end and os.path.exists(sys.argv[1] + ".held"):
        time.sleep(0.02)
    if is_end and os.path.exists(sys.argv[1] + ".broken"):
        raise OSError(5, "Input/output error")
    fsync(fd)

os.fsync = sync_unless_held

def length(call):
    return HostReply(output={"length": len(call.parameters["text"])})

HANDLERS["test_look"] = {"run": me}
HANDLERS["test_length"] = {"run": length, "preview": length}
HANDLERS["test_wait_for"] = {"run": wait_for}
HANDLERS["test_wait"] = {"run": wait}
HANDLERS["test_change"] = {"run": me, "preview": me}
ChildSupervisor(0, 1, HostFolders(sys.argv[1], ())).serve({})
"""
WITHIN = 20.0


class Kept:
    """A supervisor, and its client by frames."""

    def __init__(self, marks: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVED, str(marks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._cutter = frames.Cutter(frames.HELLO + frames.PROGRESS + frames.RESULT + frames.LOG)
        self._frames: list[frames.Frame] = []
        self._tag = 0
        assert self.next().kind == frames.HELLO

    def next(self) -> frames.Frame:
        """The next frame."""
        assert self.process.stdout is not None
        while not self._frames:
            assert select.select([self.process.stdout], [], [], WITHIN)[0], "nothing is said"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "it has ended"
            self._frames += self._cutter.feed(data)
        return self._frames.pop(0)

    def post(self, kind: bytes, message: dict[str, Any]) -> int:
        """Send it; return its tag."""
        assert self.process.stdin is not None
        self._tag += 1
        self.process.stdin.write(frames.pack(kind, {**message, "tag": self._tag}))
        self.process.stdin.flush()
        return self._tag

    def write(self, data: bytes) -> None:
        """Write a part of a frame."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def begin(
        self, operation: str, *, timeout: float = 30.0, target: dict[str, Any] | None = None, **parameters: Any
    ) -> int:
        """Request one operation; return its tag."""
        request = {
            "id": f"op{self._tag}", "action": "run", "operation": operation, "target": target or {}, "timeout": timeout,
        }  # fmt: skip
        return self.post(frames.REQUEST, {"request": request, "parameters": parameters})

    def result(self, tag: int) -> dict[str, Any]:
        """Return the result."""
        while True:
            frame = self.next()
            message = frame.message()
            if frame.kind == frames.RESULT and message["tag"] == tag:
                return message

    def pid(self, operation: str = "test_look") -> int:
        """Return the process of the operation."""
        reported = self.result(self.begin(operation))
        assert reported["outcome"] == "succeeded", reported
        assert reported["output"]["mark"] == reported["id"]
        return int(reported["output"]["pid"])

    def children(self) -> list[str]:
        """Return its present processes."""
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "marks")
    yield made
    assert made.process.stdin is not None
    assert made.process.stdout is not None
    made.process.stdin.close()
    assert made.process.wait(WITHIN) == 0
    made.process.stdout.close()


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


class ChangedFiles:
    """Changes of one file through the supervisor."""

    def __init__(self, kept: Kept, folder: Path) -> None:
        folder.mkdir()
        self._kept, self._folder, self._count = kept, folder.resolve(), 0

    def begin(self, operation: str) -> int:
        """Request the next change; return its tag. A file that is deleted is one that was written before."""
        self._count += 1
        path = f"{self._folder}/a"
        more: dict[str, Any] = {"content": f"{self._count}"} if operation == "file_write" else {}
        if operation == "file_copy":
            more, path = {"source_path": path, "dest_path": f"{path}{self._count}"}, ""
        named: dict[str, Any] = {"file_path": path} if path else {}
        return self._kept.begin(operation, target={"file_roots": [{"path": str(self._folder)}]}, **named, **more)

    def change(self, operation: str) -> None:
        """Carry out one change."""
        reported = self._kept.result(self.begin(operation))
        assert reported["outcome"] == "succeeded", reported


def test_changes_of_files_follow_each_other_in_the_process_of_reads(kept: Kept, tmp_path: Path) -> None:
    reader, files = kept.pid(), ChangedFiles(kept, tmp_path / "files")
    for operation in ("file_write", "file_copy", "file_delete", "file_write"):
        files.change(operation)
        assert kept.pid() == reader


async def test_process_ends_with_a_change_whose_end_could_not_be_marked(kept: Kept, tmp_path: Path) -> None:
    """Its life would mean that the change still runs."""
    reader, files = kept.pid(), ChangedFiles(kept, tmp_path / "files")
    (tmp_path / "marks.broken").touch()
    tag = files.begin("file_write")
    assert kept.result(tag)["outcome"] == "succeeded"
    (tmp_path / "marks.broken").unlink()
    assert kept.pid() != reader

    async def is_lost() -> bool:
        message = {"id": f"op{tag - 1}", "attempt": 1}
        return bool(kept.result(kept.post(frames.SETTLE, message))["seen"] == "lost")

    await eventually(is_lost, within=WITHIN, what="the end of the process")


@pytest.mark.parametrize("by_frame", [True, False])
async def test_process_that_was_signalled_during_a_change_of_a_file_ends_with_it(
    kept: Kept, tmp_path: Path, by_frame: bool
) -> None:
    """The signal may come late, and must not reach the next request. Another connection sends it without a frame."""
    reader, files, held = kept.pid(), ChangedFiles(kept, tmp_path / "files"), tmp_path / "marks.held"
    held.touch()
    tag = files.begin("file_write")

    async def took_effect() -> bool:
        return (tmp_path / "files" / "a").exists()

    await eventually(took_effect, within=WITHIN, what="the effect")
    if by_frame:
        kept.post(frames.STOP, {"of": tag, "grace": 10 * WITHIN})
        kept.result(kept.post(frames.PING, {}))
    else:
        os.kill(reader, signal.SIGTERM)
    held.unlink()
    assert kept.result(tag)["outcome"] == "succeeded"
    assert kept.pid() != reader


@pytest.mark.parametrize("operation", ["file_write", "file_delete"])
async def test_reply_waits_for_the_mark_of_the_end(kept: Kept, tmp_path: Path, operation: str) -> None:
    """A probe after the reply finds the result and no process at work."""
    held, files = tmp_path / "marks.held", (tmp_path / "files").resolve()
    files.mkdir()
    (files / "a").write_text("old")
    held.touch()
    content: dict[str, Any] = {"content": "new"} if operation == "file_write" else {}
    tag = kept.begin(operation, target={"file_roots": [{"path": str(files)}]}, file_path=f"{files}/a", **content)

    async def took_effect() -> bool:
        return not (files / "a").exists() or (files / "a").read_text() == "new"

    await eventually(took_effect, within=WITHIN, what="the effect")
    assert kept.process.stdout is not None
    assert not select.select([kept.process.stdout], [], [], 0.1)[0]
    assert not list((tmp_path / "marks").glob("*.ended"))
    held.unlink()
    assert kept.result(tag)["outcome"] == "succeeded"
    assert list((tmp_path / "marks").glob("op0.1.ended"))


def test_process_stops_searching_after_a_while(kept: Kept) -> None:
    pids = [kept.pid() for _ in range(2 * MOST_USES + 1)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [MOST_USES, MOST_USES, 1]


def test_several_at_once_have_one_each_and_only_some_are_kept(kept: Kept, tmp_path: Path) -> None:
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


def test_a_waiting_one_that_was_killed_is_one_answer_and_no_more(kept: Kept) -> None:
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
