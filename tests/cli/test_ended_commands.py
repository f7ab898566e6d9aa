"""A command that signals end says what goes on, and ends: also when they come twice."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_contracts.ids import operation_id
from writ_contracts.requests import TargetView

RESTART = ("run", "service_restart", "service_name=nginx")


@pytest.fixture(autouse=True)
def inventory(served: ScriptedApi) -> None:
    served.targets = [
        TargetView(id=name, role="production", backend="ssh", pool="ssh", tags=[], agents=1)
        for name in ("db-1", "web-1", "web-2")
    ]


async def started(environ: dict[str, str], *words: str) -> Process:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "writ_cli", *words), env={**os.environ, **environ}, stdout=PIPE, stderr=PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def ended(process: Process, number: signal.Signals, *pauses: float) -> tuple[int | None, str, str]:
    """Send the signal, and again after each pause; return status and outputs."""
    os.kill(process.pid, number)
    for pause in pauses:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), pause)
        with suppress(ProcessLookupError):  # `send_signal` would take its end from asyncio, which waits for it, too
            os.kill(process.pid, number)
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, out.decode(), err.decode()


REPEATED = [(), (0,), (0.001,), (0.02,)]
"""Pauses before further signals: a person presses Ctrl-C twice, a scheduler sends it to a process and to its group."""
TWICE = [pytest.param(pauses, marks=() if pauses in ((), (0.001,)) else pytest.mark.exhaustive) for pauses in REPEATED]
"""For commands beside `run` on several targets, which gets each of them."""


@pytest.mark.parametrize("pauses", REPEATED)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_run_that_is_ended_shows_what_goes_on(
    served: ScriptedApi, environ: dict[str, str], number: signal.Signals, pauses: tuple[float, ...]
) -> None:
    """By Ctrl-C, or by a scheduler that gives up."""
    served.outcome = None
    process = await started(environ, *RESTART, "-t", "*", "--serial", "2")
    await served.until_queries("operation", 2)
    status, out, err = await ended(process, number, *pauses)
    assert status == 4
    assert "3 targets: 2 pending, 1 skipped" in out
    assert "still running: 2 operations" in err
    assert "nothing was started on 1 target" in err


@pytest.mark.parametrize("pauses", TWICE)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_run_on_one_target_that_is_ended_names_the_operation_that_goes_on(
    served: ScriptedApi, environ: dict[str, str], number: signal.Signals, pauses: tuple[float, ...]
) -> None:
    served.outcome = None
    process = await started(environ, *RESTART, "-t", "web-1", "--idempotency-key", "k")
    await served.until_queried("operation")
    goes_on = operation_id("alice", "k")
    assert await ended(process, number, *pauses) == (
        4,
        "",
        f"writ: operation {goes_on} goes on: `writ op watch {goes_on}`\n",
    )


@pytest.mark.parametrize("pauses", TWICE)
async def test_a_watched_list_that_is_interrupted_ends(
    served: ScriptedApi, environ: dict[str, str], pauses: tuple[float, ...]
) -> None:
    watching = [await started(environ, "target", "list", "--watch") for _ in range(3)]
    for process in watching:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 60)
    for status, _, err in await asyncio.gather(*(ended(process, signal.SIGINT, *pauses) for process in watching)):
        assert (status, err.strip()) == (130, "writ: interrupted")


async def test_a_run_that_is_ended_with_all_targets_begun_says_nothing_of_others(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    served.outcome = None
    process = await started(environ, *RESTART, "-t", "web-*")
    await served.until_queries("operation", 2)
    _, _, err = await ended(process, signal.SIGINT)
    assert err == "writ: still running: 2 operations (`writ op list`)\n"
