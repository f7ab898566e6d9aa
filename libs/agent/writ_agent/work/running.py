"""Running operations: each ends by itself, at its timeout, or when it is stopped, and its reported outcome is true.

The runtime, not the backend, keeps the time. An unseen end is `unknown`, never `failed` or `cancelled`.
"""

import asyncio
from typing import Literal

from msgspec.structs import replace

from writ_agent.backends.bounded_call import bounded
from writ_agent.backends.operation_threads import ThreadCount, count_threads
from writ_agent.backends.port import Handler, Progress, Queues, Task, TaskResult
from writ_bus import tasks
from writ_contracts.agents import LONGEST_QUEUE, ReceiptOutcome
from writ_contracts.bounds import check_values
from writ_contracts.errors import Invalid, WritError
from writ_contracts.large_texts import large_texts, without_large_texts
from writ_contracts.wire import canonical
from writ_runtime.logs import Log

THREAD_SECONDS = 1.0
"""Seconds for the threads of a cancelled operation to end by themselves."""
LAST_WORDS_SECONDS = 0.2
"""For a backend that could not stop the operation to return what it knows of it."""
Cause = Literal["cancel", "timeout", "shutdown"]
_CAUSES: dict[Cause, tuple[str, str]] = {
    "timeout": ("timeout", "it was killed at its timeout"),
    "shutdown": ("agent_stopped", "it was killed, since its agent was stopped"),
}
_log = Log("writ.agent")


class RunningOperation:
    """One running operation. Call `wait` once; anyone may call `stop`."""

    def __init__(self, handler: Handler, task: Task, progress: Progress, grace: float) -> None:
        """Start the operation. `grace`: seconds between a polite stop and a kill."""
        self._handler = handler
        self._task = task
        self._grace = grace
        self._cause: Cause | None = None
        self._certain = True
        self._threads = ThreadCount()
        self._run = tasks.start(self._guarded(progress), "operation")

    def changes(self, target: str) -> bool:
        """Return true if it changes this target now."""
        return not self._run.done() and not self._task.operation.read_only and self._task.target.id == target

    async def wait(self) -> TaskResult:
        """Return the outcome, at the latest after timeout, grace and the time to kill it. The time of a read in the
        backend's queue comes on top.
        """
        try:
            await self._until_timeout()
            if not self._run.done():
                await self.stop("timeout")
            if not self._run.done():
                self._run.cancel()
                return self._unseen_end()
            return self._judge(self._run.result())
        finally:
            self._threads.over = True

    async def _until_timeout(self) -> None:
        """Wait for the end or the timeout. A read's wait for its turn does not count. That of a change does: its effect
        must not begin after its deadline, when others may take it for lost.
        """
        left, counted = self._task.timeout, 0.0
        while left > 0 and not self._run.done():
            await asyncio.wait({self._run}, timeout=left)
            queued = self._queued_seconds()
            left, counted = queued - counted, queued

    def _queued_seconds(self) -> float:
        if not self._task.operation.read_only or not isinstance(self._handler, Queues):
            return 0.0
        return min(self._handler.queued_seconds(self._task.operation_id), LONGEST_QUEUE)

    async def stop(self, cause: Cause) -> bool:
        """End it. Return whether nothing of it certainly runs any more."""
        if self._run.done():
            return True
        self._cause = self._cause or cause
        certain = await self._stop_handler()
        await asyncio.wait({self._run}, timeout=1.0 if certain else LAST_WORDS_SECONDS)
        self._certain = certain and self._run.done() and await self._without_threads()
        return self._certain

    @property
    def known(self) -> bool:
        """Return true if it has ended with a known outcome: work continued by the host itself (a unit's start) has
        not.
        """
        ended = self._run.done() and not self._run.cancelled()
        return ended and self._judge(self._run.result()).outcome != "unknown"

    async def abandon(self) -> None:
        """Give the operation up, stopped or not: nobody waits for it any more."""
        self._run.cancel()
        await asyncio.wait({self._run}, timeout=1.0)

    async def _guarded(self, progress: Progress) -> TaskResult:
        count_threads(self._threads)
        if self._cause is not None:  # a stop came before the first step: the handler did not know the operation yet
            return not_begun(self._cause)
        try:
            done = await bounded(None, self._handler.run(self._task, progress))
            _check_result(done)
            return done
        except WritError as error:
            return TaskResult(outcome="failed", code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - a defect of the backend: its effect is unknown
            _log.error("agent.backend_broke", operation_id=self._task.operation_id, exception=error)
            return _broken(self._task, error, over=await self._stop_handler() and await self._without_threads())

    async def _stop_handler(self) -> bool:
        """Return whether nothing of the operation certainly runs any more; not if the backend does not say so."""
        try:
            return await bounded(self._grace + 5, self._handler.stop(self._task.operation_id, self._grace))
        except Exception as error:  # noqa: BLE001 - a defect of the backend must not leave the operation open
            _log.error("agent.stop_failed", operation_id=self._task.operation_id, exception=error)
            return False

    async def _without_threads(self) -> bool:
        """Return whether no thread of it changes anything any more."""
        return self._task.operation.read_only or await self._threads.ended(THREAD_SECONDS)

    def _judge(self, done: TaskResult) -> TaskResult:
        """Return `done` with the reason, which the backend cannot know."""
        if done.outcome == "cancelled" and self._threads and not self._task.operation.read_only:
            code, _ = _CAUSES.get(self._cause or "cancel", ("not_confirmed", ""))
            message = f"threads of it still run ({len(self._threads)}); only a restart of its agent ends them"
            return replace(done, outcome="unknown", code=code, message=message, over=False)
        if done.outcome == "cancelled" and not (done.over and self._certain):
            return replace(done, outcome="unknown", code=done.code or "not_confirmed", over=False)
        if done.outcome == "cancelled" and self._cause in _CAUSES:
            code, message = _CAUSES[self._cause]
            message = f"{message}. {done.message}".strip()
            return replace(done, outcome=_outcome_by_effect(done), code=code, message=message)
        if done.outcome == "unknown" and done.code == "cancelled" and self._cause in _CAUSES:
            code, message = _CAUSES[self._cause]
            if not done.over:
                message = "it was to end at its timeout" if code == "timeout" else "it was to end with its agent"
            return replace(done, code=code, message=f"{message}. {done.message}".strip())
        if done.outcome == "cancelled" and self._cause is None:  # the backend cancelled it by itself
            return replace(done, outcome=_outcome_by_effect(done), code=done.code or "internal")
        return done

    def _unseen_end(self) -> TaskResult:
        code, message = _CAUSES.get(self._cause or "timeout", ("not_confirmed", "it was cancelled"))
        effect: Literal["none", "maybe"] = "none" if self._task.operation.read_only else "maybe"
        return TaskResult(
            outcome="unknown",
            code=code,
            message=f"{message}; its end on the host was not observed",
            effect=effect,
            over=False,
        )


def not_begun(cause: Cause) -> TaskResult:
    """Return the outcome of an operation stopped before it began."""
    if cause == "cancel":
        return TaskResult(outcome="cancelled", code="cancelled", message="it was cancelled before it began")
    code, message = _CAUSES[cause]
    return TaskResult(outcome="failed", code=code, message=f"{message}, before it began")


def _check_result(done: TaskResult) -> None:
    """Raises ValueError for a result which cannot be sent: a defect of the backend, with an unknown effect."""
    canonical([list(done.output), without_large_texts(done.output), done.state, done.code, done.message])
    for text in large_texts(done.output).values():
        if not text.isascii():
            text.encode()  # refuses half of a surrogate pair, as JSON does; the receipt encodes it all
    try:
        check_values(done.output)
        check_values(done.state)
    except Invalid as error:
        raise ValueError(f"the result exceeds the bounds: {error}") from error


def _outcome_by_effect(done: TaskResult) -> ReceiptOutcome:
    """Return the outcome of what was cancelled without a cancel operation."""
    return "unknown" if done.effect == "maybe" else "failed"


def _broken(task: Task, error: Exception, *, over: bool) -> TaskResult:
    message = f"a defect in the agent ({type(error).__name__}); its log has the details"
    if task.operation.read_only:
        return TaskResult(outcome="failed", code="internal", message=message, over=over)
    return TaskResult(outcome="unknown", code="internal", message=message, effect="maybe", over=over)
