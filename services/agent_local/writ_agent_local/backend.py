"""The backend `local`: operations on the host that the agent runs on, by hostops, each in a process of its own.

What hostops says becomes what the agent says; where it ended without a word, nobody knows what it did.
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from writ_agent.backend import Done, Effect, Probed, Progress, Task, Verdict
from writ_agent_local.child import HostChild
from writ_contracts.agents import ReceiptOutcome
from writ_contracts.errors import Invalid, Unreachable, WritError
from writ_contracts.parameters import hidden
from writ_hostops.operations import HANDLERS

Action = Literal["run", "baseline", "probe", "preview"]
_VERDICTS: Mapping[str, Verdict] = {"succeeded": "took_effect", "not_done": "no_effect"}


class Result(Struct, frozen=True, kw_only=True):
    """The last line of hostops about a request (writ_hostops/protocol.py)."""

    outcome: ReceiptOutcome
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    effect: Effect = "none"
    certain: bool = True


class LocalBackend:
    """`forbidden`: files and folders that no operation may touch. `markers`: where hostops keeps what it has seen."""

    name = "local"

    def __init__(self, forbidden: Iterable[Path], markers: Path) -> None:
        self.operations = frozenset(HANDLERS)
        self._forbidden = sorted({str(path) for own in forbidden for path in (own.absolute(), own.resolve())})
        self._markers = str(markers.absolute())
        self._children: dict[str, asyncio.Task[HostChild]] = {}
        self._sound: str | None = "not tried yet"

    async def run(self, task: Task, progress: Progress) -> Done:
        """In a child process, which `stop` ends with all that it started."""
        starting = self._children[task.operation_id] = asyncio.create_task(HostChild.start(task.operation_id))
        try:
            child = await starting
            return _done(task, await child.ask(self._request("run", task), progress, _secrets(task)))
        except OSError as error:
            return Done(outcome="failed", code="unavailable", message=f"no process could be started: {error.strerror}")
        finally:
            self._children.pop(task.operation_id, None)

    async def stop(self, operation_id: str, grace: float) -> bool:
        """See Handler."""
        starting = self._children.get(operation_id)
        if starting is None:
            return True
        try:
            child = await asyncio.shield(starting)
        except OSError:
            return True
        return await child.stop(grace)

    async def baseline(self, task: Task) -> dict[str, Any]:
        """See Baselines."""
        return (await self._look("baseline", task)).state

    async def preview(self, task: Task) -> dict[str, Any]:
        """See Previews."""
        return (await self._look("preview", task)).output

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> Probed:
        """See Probes."""
        result = await self._look("probe", task, baseline)
        verdict = _VERDICTS.get(str(result.output.get("verdict")), "unknown")
        return Probed(verdict=verdict, seen={**result.state, "reason": str(result.output.get("reason", ""))})

    async def check(self) -> str | None:
        """Whether hostops starts and ends on this host; once it did, it is believed."""
        if self._sound is not None:
            self._sound = await _try_hostops()
        return self._sound

    async def _look(self, action: Action, task: Task, baseline: Mapping[str, Any] | None = None) -> Result:
        """Raises WritError with what hostops has against it."""
        try:
            child = await HostChild.start(f"{task.operation_id}-{action}")
        except OSError as error:
            raise Unreachable(f"no process could be started: {error.strerror}") from error
        try:
            told = await child.ask(self._request(action, task, baseline), _silent, _secrets(task))
        except asyncio.CancelledError:
            await child.stop(0.0)
            raise
        result = _result(told)
        if result is None:
            raise WritError(f"hostops gave no {action}")
        if result.outcome != "succeeded":
            raise Invalid(result.message, code=result.code)
        return result

    def _request(self, action: Action, task: Task, baseline: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            "id": task.operation_id,
            "action": action,
            "operation": task.operation.name,
            "parameters": dict(task.parameters),
            "target": {
                "file_roots": [
                    {"path": root.path, "allow_system_root": root.allow_system_root} for root in task.target.roots()
                ],
                "forbidden_paths": self._forbidden,
                "state_dir": self._markers,
            },
            "baseline": dict(baseline or {}),
            "timeout": task.timeout,
            "attempt": max(task.attempt, 1),
        }


def _done(task: Task, told: dict[str, Any] | None) -> Done:
    result = _result(told)
    if result is None:
        return _without_word(task)
    return Done(
        outcome=result.outcome,
        output=result.output,
        state=result.state,
        code=result.code,
        message=result.message,
        effect=result.effect,
        over=result.certain,
    )


def _without_word(task: Task) -> Done:
    """It was killed, or broke. Its process is gone, so nothing of it goes on that it ran itself."""
    message = "hostops ended without a result"
    if task.operation.read_only:
        return Done(outcome="cancelled", code="ended", message=message)
    return Done(outcome="unknown", code="ended", message=message, effect="maybe")


def _result(told: dict[str, Any] | None) -> Result | None:
    try:
        return None if told is None else msgspec.convert(told, Result)
    except msgspec.ValidationError:
        return None


def _secrets(task: Task) -> list[str]:
    names = hidden(task.operation.parameters, task.parameters)
    return [str(task.parameters[name]) for name in names]


async def _try_hostops() -> str | None:
    try:
        child = await HostChild.start("check")
        told = await child.ask({"id": "check", "action": "run", "operation": "none"}, _silent)
    except OSError as error:
        return f"no process could be started: {error.strerror}"
    return None if told and told.get("code") == "unsupported" else "hostops does not answer"


def _silent(message: str) -> None:
    """Nobody is waiting to hear how far a look is."""
