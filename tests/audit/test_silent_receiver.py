"""The stop of audit beside a receiver of notifications that never replies."""

import subprocess
import sys
from pathlib import Path

STOPS = """
import asyncio
import sys
from pathlib import Path

from tests.audit.replica import replica
from tests.audit.test_notifications import configured, control

from writ_audit.notifications import delivery
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

delivery.SEND_SECONDS = 600.0


async def main(folder: Path) -> None:
    bus, asked = MemoryBus(Broker()), asyncio.Event()

    async def stays_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()

    server = await asyncio.start_server(stays_silent, "127.0.0.1", 0)
    file = configured(folder, "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1])
    position = folder / "state" / "notifications-ops.json"

    async def is_following() -> bool:
        return position.exists()

    async with replica(bus, folder / "state", notifications=file):
        await eventually(is_following, within=60)
        where = subjects.control_event("stop_set")
        event = encode(control("stop_set", reason="it burns"))
        await bus.journal.append(Entry(subject=where, data=event, event_id="e1", filter=where, expected=0))
        await asyncio.wait_for(asked.wait(), 60)


asyncio.run(main(Path(sys.argv[1])))
print("stopped")
"""


def test_audit_ends_while_a_receiver_has_not_replied(tmp_path: Path) -> None:
    """The receiver has 600 s here: a process that waited for it would reach the limit of this test."""
    command = [sys.executable, "-c", STOPS, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (ended.returncode, ended.stdout) == (0, "stopped\n"), ended.stderr
