"""A command takes any bytes as arguments, and writes to any standard output, without a traceback."""

import asyncio
import json
import os
import subprocess
import sys

from tests.client.scripted_api import ScriptedApi


async def shell(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh in which `$WRIT` is the command."""
    command = f"{sys.executable} -m writ_cli"
    variables = {**os.environ, **environ, "WRIT": command}
    return await asyncio.to_thread(
        subprocess.run, ["sh", "-c", line], env=variables, capture_output=True, timeout=60, check=False
    )


async def test_a_closed_stream_changes_no_exit_status(served: ScriptedApi, environ: dict[str, str]) -> None:
    listed = await shell("$WRIT targets >&-", environ)
    assert (listed.returncode, listed.stderr) == (0, b"")
    misspelt = await shell("$WRIT tragets -o json >&- 2>&-", environ)
    assert misspelt.returncode == 2
    assert served.requests == []


async def test_text_that_the_output_cannot_encode_is_written_as_escapes() -> None:
    done = await shell("$WRIT policy größe-日 -o json", {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (
        2,
        b"writ: No such command 'gr\xf6\xdfe-\\u65e5' (see `writ policy --help`)\n",
    )
    assert "'größe-日'" in json.loads(done.stdout.decode("latin-1"))["error"]["message"]


async def test_an_argument_that_is_not_utf_8_is_a_mistake_of_the_user_and_not_shown(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    done = await shell(r"""$WRIT run service_restart -t a service_name=nginx -r "$(printf 'gr\374n')" """, environ)
    assert (done.returncode, done.stderr) == (2, b"writ: an argument is not UTF-8 text\n")
    assert served.requests == []
