"""Files behind one kept connection: contents travel as bytes, and changes follow each other in the process of reads."""

import base64
import hashlib
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.supervised_client import WITHIN, Kept

from writ_hostops.supervised import frames
from writ_testing.eventually import eventually
from writ_testing.search import contents


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


MEGABYTE = 1024 * 1024
CONTENTS = {
    "plain": "0123456789abcde\n" * (MEGABYTE // 16),
    "of characters with several bytes": "é" * (MEGABYTE // 2),
    "short": "é",
    "empty": "",
}


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_content_arrives_on_the_host_and_comes_back(kept: Kept, tmp_path: Path, kind: str, encoding: str) -> None:
    data = CONTENTS[kind].encode()
    folder = tmp_path.resolve()
    target = {"file_roots": [{"path": str(folder)}]}
    content = CONTENTS[kind] if encoding == "utf-8" else base64.b64encode(data).decode()
    named: dict[str, Any] = {"file_path": f"{folder}/a", "encoding": encoding}
    written = kept.result(kept.begin("file_write", target=target, content=content, **named))
    assert written["output"]["digest_after"] == hashlib.sha256(data).hexdigest()
    assert (folder / "a").read_bytes() == data
    read = kept.result(kept.begin("file_read", target=target, **named))
    assert read["output"]["content"] == content
    assert (read["output"]["digest"], read["output"]["end"]) == (hashlib.sha256(data).hexdigest(), True)


@pytest.mark.parametrize(
    ("content", "encoding", "code"),
    [
        ("0" * (MEGABYTE + 1), "utf-8", "too_large"),
        ("AAAA" * MEGABYTE, "base64", "too_large"),
        ("é" * 10_000, "base64", "invalid_parameter"),
        ("A" * 10_001, "base64", "invalid_parameter"),
    ],
)
def test_content_that_is_refused_leaves_no_file(
    kept: Kept, tmp_path: Path, content: str, encoding: str, code: str
) -> None:
    folder = tmp_path.resolve()
    parameters: dict[str, Any] = {"file_path": f"{folder}/a", "content": content, "encoding": encoding}
    reported = kept.result(kept.begin("file_write", target={"file_roots": [{"path": str(folder)}]}, **parameters))
    assert (reported["outcome"], reported["code"]) == ("failed", code)
    assert not (folder / "a").exists()


def test_reply_that_is_not_read_yet_holds_up_no_other_request(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "a").write_text(CONTENTS["plain"])
    target = {"file_roots": [{"path": str(folder)}]}
    tags = [kept.begin("file_read", target=target, file_path=f"{folder}/a") for _ in range(8)]
    small = kept.begin("test_look")
    results = {frame["tag"]: frame for frame in (kept.next().message() for _ in range(9))}
    assert {results[tag]["output"]["content"] for tag in tags} == {CONTENTS["plain"]}
    assert results[small]["output"]["pid"]


@pytest.fixture
async def unread(kept: Kept, tmp_path: Path) -> int:
    """The tag of a read whose long result nobody takes yet."""
    (tmp_path / "a").write_text(CONTENTS["plain"])
    tag = begin_read(kept, tmp_path, "a")
    assert kept.process.stdout is not None
    assert select.select([kept.process.stdout], [], [], WITHIN)[0]
    return tag


def begin_read(kept: Kept, folder: Path, name: str) -> int:
    folder = folder.resolve()
    return kept.begin("file_read", target={"file_roots": [{"path": str(folder)}]}, file_path=f"{folder}/{name}")


async def test_long_result_that_is_not_taken_yet_stays_what_it_was(kept: Kept, tmp_path: Path, unread: int) -> None:
    (tmp_path / "b").write_text("b" * MEGABYTE)
    second, files = begin_read(kept, tmp_path, "b"), ChangedFiles(kept, tmp_path / "files")
    files.begin("file_write")

    async def all_is_done() -> bool:
        states = [contents(Path(f"/proc/{pid}/stat")).rpartition(b") ")[2][:1] for pid in kept.children()]
        return (tmp_path / "files" / "a").exists() and set(states) == {b"S"}

    await eventually(all_is_done, within=WITHIN, what="the end of all requests, the read in its own process too")
    assert kept.result(unread)["output"]["content"] == CONTENTS["plain"]
    assert kept.result(second)["output"]["content"] == "b" * MEGABYTE


async def test_long_result_outlives_its_process(kept: Kept, unread: int) -> None:
    reader = kept.children()[0]  # the first one born: its number is not the least once the system's begin anew
    os.kill(int(reader), signal.SIGKILL)

    async def is_gone() -> bool:
        return reader not in kept.children()

    await eventually(is_gone, within=WITHIN, what="the end of the process")
    assert kept.result(unread)["output"]["content"] == CONTENTS["plain"]
    assert kept.pid()


async def test_stop_of_an_operation_whose_long_result_is_not_taken_yet_is_answered(kept: Kept, unread: int) -> None:
    stop = kept.post(frames.STOP, {"of": unread, "grace": 1.0})
    assert kept.result(unread)["output"]["content"] == CONTENTS["plain"]
    assert kept.result(stop)["certain"]
    assert kept.pid()


@pytest.mark.parametrize("end", ["stdin", "stdout"])
async def test_connection_that_ends_before_a_long_result_is_taken_leaves_no_process(
    kept: Kept, unread: int, end: str
) -> None:
    children = [Path(f"/proc/{pid}") for pid in kept.children()]
    getattr(kept.process, end).close()
    assert kept.process.wait(WITHIN) == 0
    assert not [child for child in children if child.exists()]


def test_process_that_announces_more_than_it_can_share_is_ended(kept: Kept) -> None:
    assert kept.result(kept.begin("test_share_too_much"))["gone"]
    assert kept.pid()


async def test_process_has_no_memory_for_results_but_its_own(kept: Kept, tmp_path: Path, unread: int) -> None:
    (tmp_path / "b").write_text("b" * MEGABYTE)
    second = begin_read(kept, tmp_path, "b")
    assert {kept.result(tag)["outcome"] for tag in (unread, second)} == {"succeeded"}
    children = kept.children()
    assert len(children) > 1
    for pid in children:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        assert len([line for line in maps if "/dev/zero" in line]) == 1


def test_changes_of_files_follow_each_other_in_the_process_of_reads(kept: Kept, tmp_path: Path) -> None:
    """There may be two: a request that comes before the process is free again goes to another."""
    pids, files = {kept.pid()}, ChangedFiles(kept, tmp_path / "files")
    for operation in ("file_write", "file_copy", "file_delete", "file_write", "file_write"):
        files.change(operation)
        pids.add(kept.pid())
    assert len(pids) <= 2


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
        if operation == "file_delete":
            return not (files / "a").exists()
        return (files / "a").read_text() == "new"

    await eventually(took_effect, within=WITHIN, what="the effect")
    assert kept.process.stdout is not None
    assert not select.select([kept.process.stdout], [], [], 0.1)[0]
    assert not list((tmp_path / "marks").glob("*.ended"))
    held.unlink()
    assert kept.result(tag)["outcome"] == "succeeded"
    assert list((tmp_path / "marks").glob("op0.1.ended"))
