"""An operation's processes are found by their mark, also one that has not begun its program when its parent dies."""

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.hostops.conftest import named

from writ_testing.search import alive

WORKER_DIES = """
import json, os, sys, time
from writ_hostops import processes

ID, SECONDS, MARKED = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "marked"
ready, tell = os.pipe()
worker = os.fork()
if worker == 0:
    if os.fork() == 0:
        os.setsid()
        environ = {"PATH": os.environ["PATH"], **({processes.MARK: ID} if MARKED else {})}
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.write(tell, str(os.getpid()).encode())
        time.sleep(SECONDS)
        os.execvpe("sleep", ["sleep", "30"], environ)
    os._exit(0)
os.waitpid(worker, 0)
child = int(os.read(ready, 20))
certain = processes.end({}, ID, 0.0)
print(json.dumps({"child": child, "certain": certain, "marked": processes.marked(ID)}))
"""


def ended(seconds: float, how: str = "marked") -> dict[str, Any]:
    """What became of a child that begins its program that long after it was forked by a worker that is gone."""
    command = [sys.executable, "-c", WORKER_DIES, named(1), str(seconds), how]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return told


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_child_that_has_not_begun_its_program_is_waited_for_and_ended(seconds: float) -> None:
    told = ended(seconds)
    assert (told["certain"], told["marked"]) == (True, [])
    assert not alive(told["child"])


def test_a_child_of_something_else_is_not_waited_for_for_ever_and_left_alone() -> None:
    told = ended(0.3, "not marked")
    assert told["certain"]
    subprocess.run(["kill", str(told["child"])], check=True)  # it lives
