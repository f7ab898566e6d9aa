"""Commands that tests fork from a process with loaded modules end as new processes of `writ` do."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from writ_testing.installations.commands import PIPE_BYTES, WritResult, run_command

ENDS = """
import atexit, sys, threading
from writ_testing.installations.forked_process import run_to_quick_end

class Held:
    def __init__(self, name):
        self.name = name

    def __del__(self, show=sys.stdout.write):
        show(self.name + "\\n")

def write_at_the_end():
    threading.main_thread().join()
    print("thread")

def work():
    local, cycle = Held("local"), Held("cycle")
    cycle.itself = cycle
    sys.exit(3)

held = Held("global")
atexit.register(print, "exit")
threading.Thread(target=write_at_the_end).start()
"""
"""A program that ends in `work`, before a thread of it."""
POLICY = "policies: {version: v2, name: x, global_policies: []}\n"


def new_process(words: list[str], environ: dict[str, str], stdin: bytes, folder: Path) -> WritResult:
    command = [str(Path(sys.executable).with_name("writ")), *words]
    done = subprocess.run(command, env=environ, input=stdin, cwd=folder, capture_output=True, check=False, timeout=60)
    return WritResult(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["version"], 0),
        (["no-such-command"], 2),
        (["policy", "validate", "policy.yaml"], 0),
        (["policy", "validate", "-"], 0),
        (["policy", "validate", "none.yaml"], 2),
        (["status"], 6),
    ],
    ids=["done", "unknown command", "file in the folder", "standard input", "no file", "no installation"],
)
async def test_forked_command_ends_as_a_new_process_does(tmp_path: Path, words: list[str], status: int) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    environ = {**os.environ, "WRIT_HOME": str(tmp_path / "home")}
    forked = await run_command(words, environ, POLICY.encode(), tmp_path)
    assert forked.status == status, forked
    assert repr(forked) == repr(await asyncio.to_thread(new_process, words, environ, POLICY.encode(), tmp_path))


async def test_commands_run_at_once_with_variables_of_their_own(tmp_path: Path) -> None:
    homes = [str(tmp_path / f"home-{number}") for number in range(4)]
    ended = await asyncio.gather(*(run_command(["status"], {**os.environ, "WRIT_HOME": home}) for home in homes))
    assert [one.status for one in ended] == [6] * len(homes)
    assert [home in one.out + one.err for home, one in zip(homes, ended, strict=True)] == [True] * len(homes)


async def test_command_with_other_variables_of_its_start_or_a_large_input_is_a_new_process(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit(77)\n")
    assert (await run_command(["status"], {**os.environ, "PYTHONPATH": str(tmp_path)})).status == 77
    large = POLICY.encode() + b"#" * PIPE_BYTES
    assert (await run_command(["policy", "validate", "-"], os.environ, large)).status == 0


@pytest.mark.parametrize("quick", [False, True])
def test_forked_process_releases_what_its_work_had_and_awaits_threads_and_exit_functions(quick: bool) -> None:
    """Its end differs from Python's in what modules still hold: that is left to the kernel."""
    end = "run_to_quick_end(work)" if quick else "work()"
    done = subprocess.run([sys.executable, "-c", ENDS + end], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(done.stdout.split()) == ["cycle", "exit", *([] if quick else ["global"]), "local", "thread"]
