"""The client of docs/bare-client.md, in a process of its own."""

import asyncio
import re
import sys
from pathlib import Path

from writ_testing.installations.installation import RunningInstallation

DOCUMENT = Path(__file__).parents[2] / "docs/bare-client.md"
(SCRIPT,) = (one for one in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "import nats" in one)


async def bare_client(installation: RunningInstallation, me: str, *words: str) -> tuple[int | None, str, str]:
    """Return status and output of the client, with the key of alice."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        installation.url,
        str(installation.home.seed_file("principal-alice")),
        me,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()
