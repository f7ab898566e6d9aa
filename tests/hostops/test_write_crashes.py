"""SIGKILL at each system call of a write or delete: the old file or the new, and the next write cleans up."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask, litter, named, names

from writ_installation.processes.child import tie
from writ_testing.exhaustive import some

OLD = "old " * 10_000
NEW = "new " * 12_000
MOST_CALLS = 60

CHILD = """
import json, os, signal, sys
from writ_hostops import run, syscalls

def deadly(module, name):
    real = getattr(module, name)
    def call(*arguments, **keywords):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    setattr(module, name, call)

for line in sys.stdin:
    left, request = json.loads(line)
    child = os.fork()
    if not child:
        for name in ("open", "write", "fsync", "fchmod", "fchown", "unlink", "close"):
            deadly(os, name)
        deadly(syscalls, "renameat2")
        os._exit(0 if run(request)["outcome"] == "succeeded" else 3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KilledAt = Callable[[int, dict[str, object]], int]


@pytest.fixture
def killed_at() -> Iterator[KilledAt]:
    """Return the status of a request whose process, forked from one that has loaded hostops, ends at that call."""
    command = [*tie(), sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        requests, replies = process.stdin, process.stdout
        assert requests is not None
        assert replies is not None

        def status(step: int, request: dict[str, object]) -> int:
            print(json.dumps([step, request]), file=requests, flush=True)
            return int(replies.readline())

        yield status
        requests.close()
        assert process.wait(30) == 0


def request(operation: str, srv: Path, **parameters: str) -> dict[str, object]:
    return {
        "id": named(1),
        "action": "run",
        "operation": operation,
        "parameters": {"file_path": f"{srv}/a", **parameters},
        "target": {"file_roots": [str(srv)]},
    }


@pytest.mark.parametrize("before", some([OLD, None], OLD))
def test_a_write_killed_anywhere_leaves_the_old_file_or_the_new(
    ask: Ask, srv: Path, killed_at: KilledAt, before: str | None
) -> None:
    contents = set()
    for step in range(MOST_CALLS):
        (srv / "a").unlink(missing_ok=True)
        if before:
            (srv / "a").write_text(before)
        code = killed_at(step, request("file_write", srv, content=NEW))
        content = (srv / "a").read_text() if (srv / "a").exists() else None
        assert content in (before, NEW)
        assert {name.rpartition(".")[2] for name in litter(srv)} <= {"lock", "tmp"}
        contents.add(content)
        assert ask("file_write", file_path=f"{srv}/a", content="after")["outcome"] == "succeeded"
        assert names(srv) == ["a"], "the next write has removed what was left"
        if code == 0:
            break
        assert code == -signal.SIGKILL
    else:
        pytest.fail("it was still being killed")
    assert contents == {before, NEW}, "both sides of the rename were tried"


@pytest.mark.exhaustive
def test_a_delete_killed_anywhere_leaves_the_file_or_nothing(ask: Ask, srv: Path, killed_at: KilledAt) -> None:
    observed = set()
    for step in range(MOST_CALLS):
        (srv / "a").write_text(OLD)
        code = killed_at(step, request("file_delete", srv))
        there = (srv / "a").exists()
        assert not there or (srv / "a").read_text() == OLD
        observed.add(there)
        assert ask("file_write", file_path=f"{srv}/a", content="after")["outcome"] == "succeeded"
        assert names(srv) == ["a"]
        if code == 0:
            break
        assert code == -signal.SIGKILL
    else:
        pytest.fail("it was still being killed")
    assert observed == {True, False}
