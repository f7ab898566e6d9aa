"""The signing script of docs/requests.md on a real installation: a control operation, with public libraries alone."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT = Path(__file__).parents[2] / "docs/requests.md"
SEND = """
import asyncio, sys, nats

async def send():
    client = await nats.connect(sys.argv[1], nkeys_seed=sys.argv[2], inbox_prefix=f"_INBOX_{principal}".encode())
    reply = await client.request(f"writ.request.{principal}.{operation}", canonical(request), timeout=10)
    answer = json.loads(reply.data)
    assert answer["error"] is None and answer["operation_id"] == operation_id, answer
    await client.close()

asyncio.run(send())
"""
STOPS = {"name": "stops", "operations": ["stop_set", "stop_lift"], "allowed": True}
MINE = {
    r"^seed = .*$": "import sys; seed = bytes(nkeys.decode_seed(bytearray(open(sys.argv[2], 'rb').read().strip()))[1])",
    r"^principal, operation, target = .*$": "principal, operation, target = 'operator', 'stop_set', 'writ'",
    r"^parameters, key, salt = .*$": "import os; parameters, key, salt = "
    "{'reason': 'drill', 'scope': ['nothing-*']}, os.urandom(8).hex(), os.urandom(32).hex()",
    r"^installation = .*$": "installation = sys.argv[3]",
    r"1767225600": "__import__('time').time()",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation whose operator may set stops."""
    folder = tmp_path_factory.mktemp("signing")
    async with running_installation(folder, home=prepare(folder, policy=open_policy(STOPS))) as running:
        yield running


async def run(script: str, *arguments: str) -> tuple[str, str, int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return out.decode(), err.decode(), process.returncode or 0


def script() -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    for pattern, mine in MINE.items():
        found, times = re.subn(pattern, mine.replace("\\", "\\\\"), found, flags=re.MULTILINE)
        assert times == 1, pattern
    return str(found) + SEND


async def test_a_stop_that_is_signed_with_public_libraries_alone_is_set(
    installation: RunningInstallation, writ: Writ
) -> None:
    seed = str(installation.home.seed_file("principal-operator"))
    out, err, status = await run(script(), installation.url, seed, installation.home.installation)
    assert status == 0, err
    stop = await writ.wait(out.split()[0], timeout=20)
    assert (stop.operation, stop.outcome) == ("stop_set", "succeeded")
    await writ.stop_lift(stop.operation_id, reason="the drill is over")


async def test_without_the_signature_the_same_stop_is_refused(installation: RunningInstallation) -> None:
    seed = str(installation.home.seed_file("principal-operator"))
    unsigned = script().replace("canonical(request), timeout", "canonical({**request, 'statement': None}), timeout")
    _, err, status = await run(unsigned, installation.url, seed, installation.home.installation)
    assert status == 1
    assert "signature_required" in err
