"""A run of tests that is killed leaves no process behind: helpers tie the programs that they start to their process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import descendants

ROOT = Path(__file__).parents[2]
STARTS = {
    "a server with keys": ("writ_testing.peers.nats_server", "writ_server(folder)"),
    "a server without permissions": ("writ_testing.peers.nats_server", "open_server(folder)"),
    "sshd": ("writ_testing.peers.sshd", "sshd(folder / 'sshd')"),
    "an installation": ("writ_testing.installations.installation", "running_installation(folder)"),
    "the bare server of the bench": ("bench.bare_nats", "bare_server(free_port())"),
}
SCRIPT = """
import asyncio
from pathlib import Path
from {module} import {function}
from writ_testing.peers.nats_server import free_port

async def main():
    folder = Path({folder!r})
    async with {call}:
        print("started", flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


DETACHED = """
import asyncio, signal
from pathlib import Path
from writ_installation.files.home import Home
from writ_installation.supervisor.detached_start import detach
from writ_testing.installations.detached import down_if_killed

home = Home(Path({folder!r}) / ".writ")
with down_if_killed(home.root):
    print(asyncio.run(detach(home, ["--home", str(home.root), "--nats-port", "0"], print)).pid, flush=True)
    signal.pause()
"""
COMMAND = """
import asyncio, os, signal
from writ_testing.installations.commands import run_command

print(asyncio.run(run_command(["version"], os.environ)).status, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("started", STARTS)
async def test_programs_end_with_the_killed_process_that_started_them(tmp_path: Path, started: str) -> None:
    module, call = STARTS[started]
    with run(tmp_path, SCRIPT, module=module, function=call.partition("(")[0], call=call) as (process, printed):
        assert printed == "started"
        pids = descendants(process.pid)
    await until_ended(pids)


@pytest.mark.timeout(180)
async def test_a_detached_installation_goes_down_with_the_killed_process_that_started_it(tmp_path: Path) -> None:
    with run(tmp_path, DETACHED) as (_, printed):
        pids = [int(printed), *descendants(int(printed))]
    await until_ended(pids)


async def test_template_of_commands_ends_with_the_killed_process_that_started_it(
    tmp_path: Path,
) -> None:
    with run(tmp_path, COMMAND) as (process, printed):
        assert printed == "0"
        pids = descendants(process.pid)
    await until_ended(pids)


@contextmanager
def run(tmp_path: Path, script: str, **words: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a script; yield it with its first line; kill it after the block."""
    folder = tmp_path / "files"
    folder.mkdir()
    file = tmp_path / "starts.py"
    file.write_text(script.format(folder=str(folder), **words))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    with subprocess.Popen([*tie(), sys.executable, str(file)], env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


async def until_ended(pids: list[int]) -> None:
    """Wait until none of these processes runs, of which there is at least one."""
    assert pids

    async def ended() -> bool:
        return not any(map(command, pids))

    await eventually(ended, within=30, what=f"the end of {[*filter(None, map(command, pids))]}")


def command(pid: int) -> str:
    """Return the command line of a process; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
