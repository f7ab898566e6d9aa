"""A command takes any bytes as arguments, and writes to any standard output, without a traceback."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.client.scripted_api import ScriptedApi


async def shell(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh in which `$WRIT` is the command."""
    command = f"{sys.executable} -m writ_cli"
    variables = {**os.environ, **environ, "WRIT": command}
    return await asyncio.to_thread(
        subprocess.run, ["sh", "-c", line], env=variables, capture_output=True, timeout=60, check=False
    )


async def test_a_closed_stream_changes_no_exit_status(served: ScriptedApi, environ: dict[str, str]) -> None:
    listed = await shell("$WRIT target list >&-", environ)
    assert (listed.returncode, listed.stderr) == (0, b"")
    misspelt = await shell("$WRIT tragets -o json >&- 2>&-", environ)
    assert misspelt.returncode == 2
    assert served.requests == []


async def test_the_gateway_serves_without_a_standard_error_and_loads_no_module_of_the_working_directory(
    served: ScriptedApi, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mcp.py").write_text("raise SystemExit('not ours')")
    writ, ping = Path(sys.executable).with_name("writ"), b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n'
    gateway = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"exec {writ} mcp stdio 2>&-"),
        cwd=tmp_path,
        env={**os.environ, **environ},
        stdin=PIPE,
        stdout=PIPE,
    )
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    gateway.stdin.write(ping)
    async with asyncio.timeout(60):
        assert json.loads(await gateway.stdout.readline())["id"] == 1
        gateway.stdin.close()
        assert await gateway.wait() == 0


async def test_a_closed_input_is_an_empty_one(served: ScriptedApi, environ: dict[str, str]) -> None:
    checked = await shell("$WRIT policy validate - <&-", environ)
    assert (checked.returncode, checked.stdout.partition(b"\n")[0]) == (2, b"-:1:1: error: is empty"), checked
    asked = await shell("$WRIT run service_restart -t a service_name=- <&-", environ)
    assert (asked.returncode, b"service_name" in asked.stderr) == (2, True), asked


async def test_text_that_the_output_cannot_encode_is_written_as_escapes() -> None:
    done = await shell("$WRIT policy größe-日😀 -o json", {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (
        2,
        b"writ: No such command 'gr\xf6\xdfe-\\u65e5\\ud83d\\ude00' (see `writ policy --help`)\n",
    )
    assert "'größe-日😀'" in json.loads(done.stdout.decode("latin-1"))["error"]["message"]


async def test_an_argument_that_is_not_utf_8_is_a_mistake_of_the_user_and_not_shown(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    done = await shell(r"""$WRIT run service_restart -t a service_name=nginx -r "$(printf 'gr\374n')" """, environ)
    what = b"an argument, a variable of the environment or the name of a file"
    assert (done.returncode, done.stderr) == (2, b"writ: %s is not UTF-8 text\n" % what)
    assert served.requests == []


def test_command_in_a_removed_folder_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f"rmdir {folder}; exec {sys.executable} -m writ_cli target list"
    environ = {**os.environ, "NATS_URL": "", "WRIT_HOME": "", "WRIT_CONTEXT": ""}
    environ = {name: value for name, value in environ.items() if value}
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (
        2,
        "writ: the folder in which this command runs was removed: change to another one\n",
    )
