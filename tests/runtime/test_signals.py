"""Signals: the first requests a stop, the second cancels, and afterwards the former handlers are back."""

import asyncio
import os
import signal
import sys

import pytest

from writ_runtime.signals import StopSignal, cancelled_by_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_requests_a_stop(number: signal.Signals) -> None:
    async with StopSignal() as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
    assert (stop.is_requested, stop.reason) == (True, number.name)


async def test_a_second_signal_cancels_steps_that_take_too_long() -> None:
    async def slow() -> None:
        async with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.create_task(slow()), 10)


async def test_the_process_can_request_its_own_stop_and_the_first_reason_is_kept() -> None:
    async with StopSignal() as stop:
        stop.request_stop("lost the bus")
        stop.request_stop("later")
        await asyncio.wait_for(stop.wait(), 10)
    assert stop.reason == "lost the bus"


async def test_the_handlers_are_gone_afterwards() -> None:
    async with StopSignal():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_cancels_a_command_as_ctrl_c_does(number: signal.Signals) -> None:
    async def command() -> str:
        with cancelled_by_signals():
            try:
                os.kill(os.getpid(), number)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "what it leaves"
        raise AssertionError

    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert await asyncio.wait_for(asyncio.create_task(command()), 10) == "what it leaves"
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


async def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    """As SIGHUP under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cancelled_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


COMMAND = """
import asyncio, os, signal, sys
from writ_runtime.signals import StopSignal, run_command

signal.signal(signal.SIGINT, signal.default_int_handler)

def twice(number):
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)

async def deaf():
    while True:
        try:
            twice(signal.SIGINT)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def blocked():
    twice(signal.SIGINT)
    while True:
        pass

async def orderly():
    async with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

async def waiting():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()

try:
    run_command(globals()[sys.argv[1]]())
except KeyboardInterrupt:
    sys.exit(3)
"""


@pytest.mark.parametrize(("work", "status"), [("deaf", 130), ("blocked", 130), ("orderly", 3), ("waiting", 3)])
async def test_a_command_ends_after_signals_whatever_it_does(work: str, status: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, work), stderr=asyncio.subprocess.PIPE
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, err) == (status, b"")
