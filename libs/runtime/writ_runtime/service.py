"""The frame of a service process: start, readiness, orderly stop, exit status, for any kind of service.

    async def main(config: PolicyConfig) -> None:
        async with running("policy", config) as process:
            async with NatsBus.connect(...) as bus:
                ...
                await process.serve_until_stopped({"nats": bus_check})

    if __name__ == "__main__":
        run("policy", PolicyConfig, main)

Exit status: 0 after an orderly stop; 1 when it could not start, broke, or was left with threads that do not end; 2 when
the configuration is wrong.
"""

import asyncio
import ctypes
import gc
import os
import resource
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from writ_bus import tracing
from writ_contracts.errors import ConfigError, WritError
from writ_documents.atomic_files import write_atomically
from writ_runtime import logs
from writ_runtime.config import ServiceConfig, load
from writ_runtime.files.run_file import RunFile
from writ_runtime.health import Check, Health, listening
from writ_runtime.logs import Log
from writ_runtime.loop_watchdog import end_process
from writ_runtime.metrics import Metrics
from writ_runtime.signals import StopSignal
from writ_runtime.spans import exporting
from writ_runtime.systemd_notify import READY, STOPPING, announce
from writ_runtime.unread_variables import unread_variables

FEW_CYCLES = (20_000, 20, 20)
"""Thresholds of the garbage collector for services whose messages leave no reference cycles behind."""
SWITCH_SECONDS = 0.0005
"""A thread that computes, such as one that reads a large list, holds up the event loop this long each time it has
something to do, and one operation has a dozen such times. Python's default is ten times as much.
"""
EXIT_SECONDS = 5.0
"""Seconds from the end of a service's own work until its process has ended, whatever its threads do."""
KEPT_BYTES, LARGEST_KEPT = 12 << 20, 4 << 20
"""Freed memory that stays with a process, and the largest block that is cut from it. A file of 1 MB passes a process in
several copies, and glibc by itself gives each back to the kernel, which makes new pages for the next: half the time of
encoding.
"""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
Settings = TypeVar("Settings", bound=ServiceConfig)


class StopStep(Struct, frozen=True):
    """One step of an orderly stop. The next begins after `grace` seconds in any case."""

    name: str
    action: Callable[[], Awaitable[object]]
    grace: float = 5.0


class Process:
    """A running service: its log, metrics and readiness, and the request to end."""

    def __init__(
        self,
        name: str,
        run_file: Path | None,
        metrics: Metrics,
        health: Health,
        port: int,
        gc_thresholds: tuple[int, int, int],
    ) -> None:
        self.name = name
        self.log = Log(f"writ.{name}")
        self.metrics = metrics
        self.health_port = port
        self.stop = StopSignal()
        self._health = health
        self._run_file = run_file
        self._gc_thresholds = gc_thresholds

    def ready(self, checks: Mapping[str, Check]) -> None:
        """Become ready: `/readyz` follows the checks from now on, and the run file names the port."""
        self._health.watch(checks)
        _settle_memory(self._gc_thresholds)
        if self._run_file is not None:
            write_atomically(
                self._run_file,
                msgspec.json.encode(RunFile(pid=os.getpid(), health_port=self.health_port, name=self.name)),
            )
        announce(READY)
        loop = type(asyncio.get_running_loop()).__module__
        self.log.info("service.ready", health_port=self.health_port, pid=os.getpid(), event_loop=loop)

    def needs(self, task: asyncio.Task[None], otherwise: str) -> None:
        """Stop when this task ends, with `otherwise` as the reason; log its error."""

        def ended(task: asyncio.Task[None]) -> None:
            if not self.stop.is_requested and not task.cancelled() and (error := task.exception()):
                self.log.error("service.broke", reason=otherwise, exception=error)
            self.stop.request_stop(otherwise)

        task.add_done_callback(ended)

    async def serve_until_stopped(self, checks: Mapping[str, Check], *steps: StopStep) -> None:
        """Be ready until a stop is requested; then take the steps in order."""
        self.ready(checks)
        await self.stop.wait()
        self._health.stopping()
        announce(STOPPING)
        self.log.info("service.stopping", reason=self.stop.reason)
        await finish(self.log, *steps)


@asynccontextmanager
async def running(
    name: str,
    config: ServiceConfig,
    metrics: Metrics | None = None,
    *,
    gc_thresholds: tuple[int, int, int] = FEW_CYCLES,
) -> AsyncIterator[Process]:
    """Yield a process whose health is served from start to end; signals stop it."""
    metrics = metrics or Metrics()
    health = Health(metrics)
    traced = config.otlp_endpoint or config.otlp_traces_endpoint
    async with (
        exporting(name) if traced else nullcontext(),
        listening(health, config.health_host, config.health_port) as port,
    ):
        process = Process(name, config.run_file, metrics, health, port, gc_thresholds)
        async with process.stop:
            process.log.info("service.starting", health_port=port)
            try:
                yield process
            finally:
                if config.run_file is not None:
                    config.run_file.unlink(missing_ok=True)
                process.log.info("service.stopped")


async def finish(log: Log, *steps: StopStep) -> None:
    """Take the steps in order. A step which fails or takes too long is logged and does not hold up the next."""
    for step in steps:
        try:
            async with asyncio.timeout(step.grace):
                await step.action()
        except TimeoutError:
            log.warning("service.stop_overran", step=step.name, grace=step.grace)
        except Exception as error:  # noqa: BLE001 - the remaining steps flush and close: they must get their turn
            log.error("service.stop_failed", step=step.name, exception=error)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, with any error: a step of a stop."""
    task.cancel()
    await asyncio.wait({task})
    await asyncio.gather(task, return_exceptions=True)


def correlation() -> Mapping[str, str]:
    """Return the field by which log lines about one request are found in the logs of all services."""
    trace = tracing.current()
    return {} if trace is None else {"correlation_id": trace.correlation_id}


def run(
    name: str,
    kind: type[Settings],
    main: Callable[[Settings], Coroutine[Any, Any, None]],
) -> NoReturn:
    """Configure, run `main` (on uvloop if installed), and exit with the module's status."""
    try:
        config = load(kind, os.environ)
    except ConfigError as error:
        _refuse(name, error)
    logs.configure(name, config.log_level, config.log_format, context=correlation)
    log = Log(f"writ.{name}")
    for line in unread_variables(os.environ):
        log.warning("config.variable_not_read", problem=line)
    no_core_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            try:
                runner.run(main(config))
            finally:
                _limit_exit(log)
    except ConfigError as error:
        _refuse(name, error)
    except (WritError, OSError) as error:
        log.error("service.failed", error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    except (asyncio.CancelledError, KeyboardInterrupt):
        log.warning("service.cut_short")
        sys.exit(1)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the last frame: the unexpected is logged in full
        log.error("service.crashed", exception=error)
        sys.exit(1)
    sys.exit(0)


def _limit_exit(log: Log) -> None:
    """End the process in `EXIT_SECONDS`: Python would wait for threads, and those of a plugin may never end."""

    def end() -> None:
        running = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
        end_process(log, "service.exit_forced", threads=running, seconds=EXIT_SECONDS)

    timer = threading.Timer(EXIT_SECONDS, end)
    timer.daemon = True
    timer.start()


def no_core_files() -> None:
    """Forbid core files: keys and parameters are in the memory of this process and its children."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_freed_memory() -> None:
    """Keep some freed memory for the next large message. Without mallopt(3), as with musl, the C library decides."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)  # or each thread keeps memory of its own


def _settle_memory(thresholds: tuple[int, int, int]) -> None:
    """Freeze loaded objects: the garbage collector need not scan them again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)


def _refuse(name: str, error: ConfigError) -> NoReturn:
    priority = "<3>" if logs.is_journal(sys.stderr) else ""
    message = f"{priority}writ {name}: {error}".replace("\n", " | ")
    print(message, file=sys.stderr)  # noqa: T201 - logs are not configured yet
    sys.exit(2)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if find_spec("uvloop") is None:  # it exists for Linux and macOS
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415

    return uvloop.new_event_loop
