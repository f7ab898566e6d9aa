"""`python -m writ_hostops`: each request gets one result, with any content, and a signal ends the process in order."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostops.conftest import named, names

from writ_hostops import CODES, HANDLERS, CancelToken, run
from writ_hostops.files import file_locks, open_beneath
from writ_hostops.protocol import MAX_LINE

COMMAND = [sys.executable, "-m", "writ_hostops"]
WAIT = 30


class Process:
    def __init__(self, **environment: str) -> None:
        self.popen = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )

    @property
    def stdin(self) -> IO[bytes]:
        assert self.popen.stdin is not None
        return self.popen.stdin

    def send(self, *messages: object) -> None:
        self.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        self.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        answer: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return answer

    def finish(self) -> tuple[list[dict[str, Any]], bytes, int]:
        """Return the answers after the end of the input, the text of stderr, and the exit status."""
        out, error = self.popen.communicate(timeout=WAIT)
        return [json.loads(line) for line in out.splitlines()], error, self.popen.returncode


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Yield a function that starts hostops; processes that still run at the end are killed."""
    started: list[Process] = []

    def start(**environment: str) -> Process:
        started.append(Process(**environment))
        return started[-1]

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        for pipe in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()
        process.popen.wait(WAIT)


Start = Callable[..., Process]


@contextlib.contextmanager
def holding_the_turn(folder: Path, name: str) -> Iterator[None]:
    """Holds the lock of a file as another writer does."""
    fd = os.open(folder, os.O_RDONLY)
    with CancelToken(WAIT) as stop, file_locks.locked(open_beneath.FolderEntry(f"{folder}/{name}", fd, name), stop):
        yield
    os.close(fd)


def read(srv: Path, request_id: str) -> dict[str, Any]:
    return {
        "id": request_id,
        "action": "run",
        "operation": "file_read",
        "parameters": {"file_path": f"{srv}/a"},
        "target": {"file_roots": [str(srv)]},
    }


def test_each_request_has_exactly_one_result(start: Start, srv: Path) -> None:
    (srv / "a").write_text("x")
    process = start()
    process.send(*[read(srv, f"op-{number}") for number in range(50)])
    answers, error, status = process.finish()
    assert sorted(answer["id"] for answer in answers) == sorted(f"op-{number}" for number in range(50))
    assert {answer["outcome"] for answer in answers} == {"succeeded"}
    assert (error, status) == (b"", 0)


def test_malformed_request_is_answered_and_the_next_one_served(start: Start, srv: Path) -> None:
    (srv / "a").write_text("x")
    process = start()
    for line in (b"nonsense", b"\xff\xfe", b"[]", b"null", b"{", b"[" * 100_000, b'"' + b"9" * 5000, b'{"id":"op-9"}'):
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        answer = process.receive()
        assert (answer["event"], answer["outcome"], answer["code"]) == ("result", "failed", "invalid_parameter")
    process.send(read(srv, named(1)))
    assert process.receive()["outcome"] == "succeeded"
    assert process.finish() == ([], b"", 0)


def test_a_line_without_end_does_not_fill_the_memory(start: Start, srv: Path) -> None:
    (srv / "a").write_text("x")
    process = start()
    process.stdin.write(b" " * (MAX_LINE + 10) + b"x" * 1000 + b"\n")
    process.send(read(srv, named(1)))
    answers, _, status = process.finish()
    assert {(answer["id"], answer["code"]) for answer in answers} == {("", "too_large"), (named(1), "")}
    assert status == 0


def test_the_largest_content_fits_in_a_line_however_it_is_escaped(start: Start, srv: Path) -> None:
    process = start()
    request = {**read(srv, named(1)), "operation": "file_write"}
    process.send({**request, "parameters": {"file_path": f"{srv}/b", "content": "\x01" * (1024 * 1024)}})
    answers, _, _ = process.finish()
    assert answers[0]["outcome"] == "succeeded"
    assert (srv / "b").stat().st_size == 1024 * 1024


def test_process_has_a_session_of_its_own(start: Start) -> None:
    process = start()
    process.send({})
    process.receive()
    assert os.getsid(process.popen.pid) == process.popen.pid


def test_sigterm_cancels_what_runs_and_says_that_nothing_was_done(start: Start, srv: Path, tmp_path: Path) -> None:
    """The write waits for its turn, which another holds."""
    process = start()
    with holding_the_turn(srv, "a"):
        request = {**read(srv, named(1)), "operation": "file_write"}
        process.send({**request, "parameters": {"file_path": f"{srv}/a", "content": "x"}}, read(srv, named(2)))
        assert process.receive()["id"] == named(2)
        process.popen.send_signal(signal.SIGTERM)
        answers, _, status = process.finish()
    assert [answer["outcome"] for answer in answers] == ["cancelled"]
    assert (answers[0]["effect"], answers[0]["certain"], status) == ("none", True, 0)
    assert [name for name in names(srv) if name.endswith(".tmp")] == []


def test_sigterm_counts_after_the_end_of_the_input_and_in_the_middle_of_a_line(start: Start, srv: Path) -> None:
    waiting, halfway = start(), start()
    with holding_the_turn(srv, "a"):
        request = {**read(srv, named(1)), "operation": "file_write"}
        waiting.send({**request, "parameters": {"file_path": f"{srv}/a", "content": "x"}}, read(srv, named(2)))
        waiting.stdin.close()
        assert waiting.receive()["id"] == named(2)
        waiting.popen.send_signal(signal.SIGTERM)
        assert waiting.receive()["outcome"] == "cancelled"
        assert waiting.popen.wait(WAIT) == 0
    halfway.send({})
    halfway.receive()
    halfway.stdin.write(b'{"id":')
    halfway.stdin.flush()
    halfway.popen.send_signal(signal.SIGTERM)
    assert halfway.receive()["code"] == "invalid_parameter"
    assert halfway.popen.wait(WAIT) == 0


def test_pdeathsig_ends_it_with_the_one_who_started_it(tmp_path: Path) -> None:
    """A killed parent cannot end its child, so the kernel does."""
    starter = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdin.write(b'{}\\n'); p.stdin.flush(); p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()"
    )
    read_end, write_end = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", starter, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=write_end,
        env={**os.environ, "WRIT_HOSTOPS_PDEATHSIG": "1"},
    ) as parent:
        os.close(write_end)
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
    # The other end of stderr closes when the last process that has it is gone.
    os.set_blocking(read_end, True)
    assert os.read(read_end, 100) == b""
    os.close(read_end)


def test_begun_operation_is_finished_without_a_listener(start: Start, srv: Path) -> None:
    process = start()
    assert process.popen.stdout is not None
    process.popen.stdout.close()
    request = {**read(srv, named(1)), "operation": "file_write"}
    process.send({**request, "parameters": {"file_path": f"{srv}/b", "content": "x"}})
    process.stdin.close()
    assert process.popen.wait(WAIT) == 0
    assert (srv / "b").read_text() == "x"


def test_defect_of_hostops_is_reported_without_values(monkeypatch: pytest.MonkeyPatch, capfd: Any, srv: Path) -> None:
    def broken(call: object) -> None:
        raise ValueError("planted-secret")

    monkeypatch.setitem(HANDLERS["file_write"], "run", broken)
    result = run({**read(srv, named(1)), "operation": "file_write"})
    assert (result["outcome"], result["code"], result["effect"]) == ("unknown", "internal", "maybe")
    captured = capfd.readouterr()
    assert "planted-secret" not in str(result) + captured.out + captured.err
    assert captured.out == ""


FILES = ["file_read", "file_write", "file_copy", "file_delete"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.just(named(1)) | JSON,
            "action": st.sampled_from(["run", "baseline", "probe", "preview"]) | JSON,
            "operation": st.sampled_from(["service_status", "network_status", *FILES]) | JSON,
            "parameters": JSON,
            "target": JSON,
            "baseline": JSON,
            "timeout": JSON,
            "attempt": JSON,
            "surprise": JSON,
        },
    )
    | JSON
)
def test_any_json_gets_a_result_of_the_closed_set(message: Any) -> None:
    result = run(message)
    assert set(result) == {"id", "event", "outcome", "code", "message", "output", "state", "effect", "certain"}
    assert result["code"] in {"", *CODES}
    assert result["outcome"] in {"succeeded", "failed"}
    assert result["effect"] == "none"
    json.dumps(result).encode()
