"""Pings of what operations run on: few, never unseen, and each report of a silence has an end."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from writ_agent.backends import silence_watch
from writ_agent.backends.silence_watch import SharedPing, TargetPings
from writ_contracts.errors import Unreachable
from writ_testing.eventually import eventually
from writ_testing.suites.backend import ProgressRecorder


def pings_of(heard: ProgressRecorder) -> TargetPings:
    task: Any = SimpleNamespace(
        target=SimpleNamespace(id="box"), operation=SimpleNamespace(read_only=True), timeout=30.0
    )
    return TargetPings(task, heard)


async def test_silence_ends_with_the_first_reply_on_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a read whose connection broke, and which is tried again."""
    monkeypatch.setattr(silence_watch, "PAUSE", 0.01)
    monkeypatch.setattr(silence_watch, "STEPS", (0.01,))
    heard, breaks, pinged = ProgressRecorder(), asyncio.Event(), asyncio.Event()
    watch = pings_of(heard)

    async def silent() -> bool:
        await asyncio.sleep(0)
        if breaks.is_set():
            pinged.set()
            raise Unreachable("the connection broke")
        return True

    async def replies() -> bool:
        return False

    async def reported() -> bool:
        return bool(heard.silences)

    with watch.running(silent):
        await eventually(reported)
        breaks.set()
        await asyncio.wait_for(pinged.wait(), 10)
    assert [name for name, _ in heard.silences] == ["box"]

    async def ended() -> bool:
        return heard.silences[-1] == ("", "box replies again")

    with watch.running(replies):
        await eventually(ended)
    assert len(heard.silences) == 2


async def test_reply_within_a_step_ends_its_report_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_watch, "LATE_SECONDS", 0.0)
    heard = ProgressRecorder()

    async def reported() -> bool:
        return bool(heard.silences)

    with pings_of(heard).late("it broke", "it replies") as replied:
        await eventually(reported)
        replied()
        assert heard.silences == [("box", "it broke"), ("", "it replies")]
        replied()
    assert len(heard.silences) == 2


async def test_reply_is_good_for_all_operations_during_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_watch, "PAUSE", 60.0)
    pings = 0

    async def ping() -> bool:
        nonlocal pings
        pings += 1
        await asyncio.sleep(0)
        return False

    shared = SharedPing(ping)
    assert await asyncio.gather(*(shared.is_silent(5.0) for _ in range(40))) == [False] * 40
    assert await shared.is_silent(5.0) is False
    assert pings == 1


async def test_error_of_a_ping_is_seen_though_nobody_waits_for_it_and_the_next_one_is_new() -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    go_on, replying = asyncio.Event(), False

    async def ping() -> bool:
        if not replying:
            await go_on.wait()
            raise Unreachable("gone")
        return False

    shared = SharedPing(ping)
    assert await shared.is_silent(0.01) is True
    running: Any = shared._running
    go_on.set()
    await asyncio.wait({running})
    replying = True
    assert await shared.is_silent(5.0) is False
    del running
    gc.collect()
    assert unseen == []
