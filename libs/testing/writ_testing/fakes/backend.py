"""A backend without a host: its effects are kept in a list. It passes BackendSuite, and tests can make it misbehave."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from writ_agent.backends.coroutine import CoroutineHandler
from writ_agent.backends.port import ProbeResult, Progress, TargetTestResult, Task, TaskResult, cannot_list
from writ_agent.backends.target_health import TargetHealth
from writ_contracts.errors import Denied, WritError
from writ_contracts.inventory import Target

Script = Callable[[Task, Progress], Awaitable[TaskResult]]


class FakeBackend(CoroutineHandler):
    """Carries out test operations: each effect is its operation id in `effects`.

    `listed` has the results or errors of its listings; `found` the result of a target test. `scripts` replaces an
    operation's action; `deaf` makes `stop` end nothing and say so.
    """

    name = "fake"
    operations: frozenset[str] = frozenset({"test_noop", "test_count", "test_sleep", "test_secret", "test_fail"})

    def __init__(self) -> None:
        super().__init__(self._perform)
        self.effects: list[str] = []
        self.tasks: list[Task] = []
        self.looks: list[str] = []
        self.scripts: dict[str, Script] = {}
        self.listed: dict[str, Sequence[str] | WritError] = {"list_services": ("nginx",)}
        self.target_health = TargetHealth()
        self.found = TargetTestResult(operations=sorted(self.operations), versions={"fake": "1"})
        self.deaf = False

    async def stop(self, operation_id: str, grace: float) -> bool:
        return False if self.deaf else await super().stop(operation_id, grace)

    async def check(self) -> str | None:
        return None

    async def baseline(self, task: Task) -> dict[str, Any]:
        self.looks.append("baseline")
        return {"effects": len(self.effects)}

    async def preview(self, task: Task) -> dict[str, Any]:
        self.looks.append("preview")
        return {"effects": len(self.effects) + 1}

    async def listing(self, target: Target, source: str) -> list[str]:
        self.looks.append(source)
        if source not in self.listed:
            raise cannot_list(source)
        listed = self.listed[source]
        if isinstance(listed, WritError):
            raise listed
        return list(listed)

    async def test_target(self, target: Target) -> TargetTestResult:
        self.looks.append("visit")
        self.target_health.record(target.id, self.found.code)
        return self.found

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        self.looks.append("probe")
        return ProbeResult(
            verdict="took_effect" if task.operation_id in self.effects else "no_effect",
            observed={"effects": len(self.effects)},
        )

    async def _perform(self, task: Task, progress: Progress) -> TaskResult:
        self.tasks.append(task)
        if script := self.scripts.get(task.operation.name):
            return await script(task, progress)
        match task.operation.name:
            case "test_noop":
                return TaskResult(outcome="succeeded")
            case "test_sleep":
                return await self._sleep(task, progress)
            case "test_count":
                return await self._count(task, progress)
            case "test_fail":
                raise Denied("refused as asked for", code="permission_denied")
            case _:
                return TaskResult(outcome="succeeded", output=dict(task.parameters), effect="done")

    async def _sleep(self, task: Task, progress: Progress) -> TaskResult:
        progress("asleep")
        await asyncio.sleep(float(task.parameters["seconds"]))
        return TaskResult(outcome="succeeded", effect="done")

    async def _count(self, task: Task, progress: Progress) -> TaskResult:
        try:
            await asyncio.sleep(float(task.parameters["delay"]))
        except asyncio.CancelledError:
            return TaskResult(outcome="cancelled", code="cancelled", message="before it counted")
        self.effects.append(task.operation_id)
        return TaskResult(outcome="succeeded", output={"lines": len(self.effects)}, effect="done")


class PluginBackend(FakeBackend):
    """A backend of a plugin (entry point `writ.backends`). Its operations come by the handlers of plugins."""

    operations = frozenset()
