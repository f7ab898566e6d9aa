"""`test_noop` from a bare request to its `finished` event: decided twice, granted, claimed, run, signed, fsynced.

`python -m bench end_to_end`: p50, p99 and operations a second at 1, 32 and 64 in flight, beside a bare NATS request and
a bare JetStream publish in the same run, and the memory of each process after it.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import json, msgpack

from bench.bare_nats import bare_server, measure_peers
from bench.timing import Sample, measure
from writ_bus.port import Bus, Message
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.wire import MSGPACK
from writ_installation.nats.server import free_port
from writ_testing.installations.installation import RunningInstallation, running_installation

COUNTS = {1: 500, 32: 3_000, 64: 4_000}
ENVIRON = {"WRIT_RATE": "100000", "WRIT_BURST": "100000", "WRIT_SLOTS": "64", "WRIT_LOG_LEVEL": "warning"}
PRINCIPAL = "operator"
SUCCEEDED = b'"outcome":"succeeded"'
NOOP = subjects.request(PRINCIPAL, "test_noop")


class Requester:
    """A bare client: it sends JSON and receives events."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ends: dict[str, asyncio.Future[None]] = {}
        self._early: set[str] = set()

    async def listen(self) -> None:
        """Subscribe to the ends of its own operations."""
        await self._bus.subscribe(f"writ.event.op.{PRINCIPAL}.*.finished", self._event, concurrency=256)

    async def _event(self, message: Message) -> None:
        where = subjects.parse_event(message.subject)
        if where is None or where.event != "finished":
            return
        waiter = self._ends.pop(where.operation_id, None)
        if SUCCEEDED not in message.data:
            raise SystemExit(f"it did not end well: {message.data.decode()[:500]}")
        if waiter is None:
            self._early.add(where.operation_id)
        elif not waiter.done():
            waiter.set_result(None)

    async def noop(self, _: int) -> None:
        """Run one operation that does nothing, from request to `finished`."""
        await self._end(await self._bus.request(NOOP, b'{"target":"web-1"}', timeout=30))

    async def ask(self, operation: str, target: str, parameters: Mapping[str, object]) -> None:
        """Run one operation from request to `finished`."""
        wanted = json.encode({"target": target, "parameters": parameters})
        await self._end(await self._bus.request(subjects.request(PRINCIPAL, operation), wanted, timeout=30))

    async def ask_packed(self, operation: str, target: str, parameters: Mapping[str, object]) -> None:
        """Do the same with a request in MessagePack, in which Writ's client sends large texts."""
        wanted = msgpack.encode({"target": target, "parameters": parameters})
        headers = {"Content-Type": MSGPACK}
        subject = subjects.request(PRINCIPAL, operation)
        await self._end(await self._bus.request(subject, wanted, timeout=30, headers=headers))

    async def _end(self, message: Message) -> None:
        packed = message.headers.get("Content-Type") == MSGPACK
        answer = msgpack.decode(message.data) if packed else json.decode(message.data)
        operation_id = answer["operation_id"]
        if answer["error"] is not None:
            raise RuntimeError(str(answer["error"]))
        if operation_id in self._early:
            self._early.discard(operation_id)
            return
        self._ends[operation_id] = asyncio.get_running_loop().create_future()
        await self._ends[operation_id]


async def run() -> dict[str, object]:
    """Return all figures."""
    rows: dict[str, dict[str, Sample]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with running_installation(Path(folder), environ=ENVIRON) as installation, bare_server(free_port()) as url:
            seed = installation.home.seed_file(f"principal-{PRINCIPAL}").read_bytes()
            bus = await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10)
            requester = Requester(bus)
            await requester.listen()
            await measure(requester.noop, 8, 200)  # warm
            for in_flight, count in COUNTS.items():
                rows[str(in_flight)] = {
                    **await measure_peers(url, in_flight, count),
                    "test_noop end to end": await measure(requester.noop, in_flight, count),
                }
            memory = resident(installation)
            await bus.close()
    return {"in_flight": rows, "rss_mb": memory}


def resident(installation: RunningInstallation) -> dict[str, float]:
    """Return the resident memory of each process in MB."""
    page = os.sysconf("SC_PAGE_SIZE")
    found: dict[str, float] = {}
    for one in installation.report.processes:
        if one.pid is not None:
            pages = int(Path(f"/proc/{one.pid}/statm").read_text().split()[1])
            found[one.name] = round(pages * page / 1e6, 1)
    return found


def table(figures: dict[str, object]) -> str:
    """Return the table for people."""
    lines = ["| in flight | what | p50 ms | p99 ms | per second |", "|--:|---|--:|--:|--:|"]
    rows = figures["in_flight"]
    assert isinstance(rows, dict)
    for in_flight, samples in rows.items():
        for name, sample in samples.items():
            lines.append(f"| {in_flight} | {name} | {sample.p50} | {sample.p99} | {sample.rate} |")
    lines += ["", "| process | RSS MB |", "|---|--:|"]
    memory = figures["rss_mb"]
    assert isinstance(memory, dict)
    lines += [f"| {name} | {megabytes} |" for name, megabytes in memory.items()]
    return "\n".join(lines)
