"""An operation's processes are found by their mark, even one that its parent left before it began its program."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import named

import writ_agent.backends.processes
from writ_hostops import processes
from writ_testing.eventually import eventually
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
    """Return the fate of a child that starts its program that long after its forking worker died."""
    command = [sys.executable, "-c", WORKER_DIES, named(1), str(seconds), how]
    reported: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return reported


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_child_that_has_not_begun_its_program_is_waited_for_and_ended(seconds: float) -> None:
    reported = ended(seconds)
    assert (reported["certain"], reported["marked"]) == (True, [])
    assert not alive(reported["child"])


def test_foreign_child_is_left_alone_and_not_waited_for_without_end() -> None:
    reported = ended(0.3, "not marked")
    assert reported["certain"]
    subprocess.run(["kill", str(reported["child"])], check=True)  # it lives


OTHER = """
import os, sys, time
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, *map(int, sys.argv[1:]))
print("ready", flush=True); time.sleep(60)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of somebody else")
@pytest.mark.parametrize("effective", ["65534", "0"], ids=["plain", "setuid"])
async def test_a_process_of_somebody_else_is_no_part_of_an_operation_whatever_its_environment_says(
    effective: str,
) -> None:
    mark = {"PATH": os.environ["PATH"], processes.MARK: named(3)}
    with (
        subprocess.Popen(
            [sys.executable, "-c", OTHER, effective, effective], env=mark, stdout=subprocess.PIPE
        ) as other,
        subprocess.Popen(["sleep", "60"], env=mark) as own,
    ):
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"

            async def begun() -> bool:
                return processes.marked(named(3)) == [own.pid]

            await eventually(begun)
            assert writ_agent.backends.processes.living(named(3)) == [own.pid]
        finally:
            own.kill()
            other.kill()


UNREADABLE_ONCE = """
from writ_hostops import processes

real, processes._read = processes._read, lambda path: ""
first, processes._read = processes.boot_id(), real
print([first, processes.boot_id()])
"""


def test_boot_id_that_could_not_be_read_is_read_again() -> None:
    done = subprocess.run([sys.executable, "-c", UNREADABLE_ONCE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["", Path("/proc/sys/kernel/random/boot_id").read_text().strip()])
