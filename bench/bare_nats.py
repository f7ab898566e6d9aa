"""Peers in the same run on the same machine: a bare NATS request, and a bare JetStream publish with fsync."""

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.timing import Sample, measure
from writ_installation.processes.child import tie
from writ_nats_server.process import find_binary
from writ_testing.eventually import eventually

CONFIG = """
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{store}", sync_interval: always }}
"""


def _respond(url: str) -> None:
    """Reply to requests, in a separate process like a service, which ends with its parent."""

    async def serve() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        asyncio.get_running_loop().add_reader(parent.sentinel, os._exit, 1)
        client = await nats.connect(url)

        async def answer(message: Msg) -> None:
            await message.respond(message.data)

        await client.subscribe("bare.request", cb=answer)
        await asyncio.Event().wait()

    uvloop.run(serve())


@asynccontextmanager
async def bare_server(port: int) -> AsyncIterator[str]:
    """Run a server without accounts, with a synced file stream and a process that replies."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "server.conf"
        config.write_text(CONFIG.format(port=port, store=folder))
        url = f"nats://127.0.0.1:{port}"
        server = await asyncio.create_subprocess_exec(
            *(*tie(), str(find_binary()), "-c", str(config)), stderr=asyncio.subprocess.DEVNULL
        )
        await eventually(lambda: _listens(port), what="a bare server that listens")
        responder = multiprocessing.get_context("spawn").Process(target=_respond, args=(url,), daemon=True)
        responder.start()
        try:
            yield url
        finally:
            responder.terminate()
            responder.join(5)
            server.terminate()
            await server.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def measure_peers(url: str, in_flight: int, count: int) -> dict[str, Sample]:
    """Measure both peers at this concurrency."""
    client = await nats.connect(url, allow_reconnect=True, connect_timeout=10)
    stream = client.jetstream()
    await stream.add_stream(name="BARE", subjects=["bare.event.>"])
    payload = os.urandom(300)
    await until_answered(client)
    measured = {
        "bare NATS request": await measure(_request(client, payload), in_flight, count),
        "bare JetStream publish": await measure(
            lambda i: stream.publish(f"bare.event.{i % 64}", payload), in_flight, count
        ),
    }
    await stream.delete_stream("BARE")
    await client.close()
    return measured


def _request(client: Client, payload: bytes) -> Callable[[int], Awaitable[object]]:
    return lambda _: client.request("bare.request", payload, timeout=10)


async def until_answered(client: Client) -> None:
    """Wait until the responder replies."""

    async def answers() -> bool:
        try:
            await client.request("bare.request", b"", timeout=1)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return False
        return True

    await eventually(answers, what="an answer of the bare responder")
