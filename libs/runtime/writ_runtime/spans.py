"""The export of spans: if the environment names a collector, and without cost otherwise.

A slow or absent collector loses spans and holds up nothing.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec

from writ_bus import tracing
from writ_contracts.errors import ConfigError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
CLOSE_SECONDS = 1.5
"""Seconds for the last spans. A collector that does not answer by then does not get them."""


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a collector."""
    return any(environ.get(name) for name in ENDPOINTS)


def installed() -> bool:
    """Return whether the exporter `writops-runtime[otlp]` is installed."""
    try:
        return all(find_spec(name) is not None for name in NEEDED)
    except ModuleNotFoundError:
        return False


@asynccontextmanager
async def exporting(service: str) -> AsyncIterator[None]:
    """Export spans of this process within the block, as those of `writ-<service>`. Raises ConfigError without the
    exporter.
    """
    if not installed():
        raise ConfigError(
            f"{ENDPOINTS[0]} is set, and OpenTelemetry is not installed: it comes with writops-runtime[otlp]"
        )
    from writ_runtime.otlp import Collector  # noqa: PLC0415 - heavy, and seldom wanted

    collector = Collector(service)
    tracing.export(collector.take)
    try:
        yield
    finally:
        tracing.export(None)
        await _in_time(collector.close)


async def _in_time(action: Callable[[], None]) -> None:
    """Run the action in a thread which does not hold up the end of the process, unlike those of the loop's executor."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def act() -> None:
        action()
        with suppress(RuntimeError):  # the loop is closed: there is no waiter any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=act, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await done.wait()
    except TimeoutError:
        return
