"""Exceptions thrown into a waiting background task."""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from writ_bus import tasks

TIMES = 3


class InjectedError(Exception):
    """No error of the tree: nothing expects it."""


class _ThrownInto(Awaitable[Any]):
    """The work. Wherever it waits, the exception is raised, a few times: one of these places may catch it."""

    def __init__(self, work: Coroutine[Any, Any, object]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._work.__await__()
        next(steps)
        yield  # tasks that it has started begin
        for _ in range(TIMES):
            step = steps.throw(InjectedError("injected"))
            yield step  # it caught the exception: the next one comes when it waited for this
        return (yield from steps)


async def throw_into(work: Coroutine[Any, Any, object]) -> object:
    """Run the work, and raise InjectedError inside it where it waits."""
    return await _ThrownInto(work)


def break_unending(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Make the permanent task of this name, which the module starts, end by InjectedError."""

    def unending(task: str, work: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, None]:
        return tasks.unending(task, throw_into(work) if task == name else work)

    monkeypatch.setattr(module, "unending", unending)


def break_once(monkeypatch: pytest.MonkeyPatch, kind: type, method: str) -> Callable[[], int]:
    """Make this coroutine method raise InjectedError at its first call. Return a function counting its calls."""
    whole, calls = getattr(kind, method), 0

    async def breaks_once(*arguments: Any) -> object:
        nonlocal calls
        calls += 1
        work = whole(*arguments)
        return await (throw_into(work) if calls == 1 else work)

    monkeypatch.setattr(kind, method, breaks_once)
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    tasks.take_ended()
    return lambda: calls
