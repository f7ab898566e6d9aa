"""Signals: the first requests a stop, the second cancels, and afterwards the former handlers are back."""

import asyncio
import os
import signal

import pytest

from writ_runtime.signals import StopSignal


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
