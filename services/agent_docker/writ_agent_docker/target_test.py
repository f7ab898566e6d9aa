"""A test of a target: its engine over a connection of its own, and the operations available there."""

from collections.abc import Collection

from writ_agent.backends.port import TargetTestResult
from writ_containers.engine.endpoint import shown
from writ_containers.engine.engine_connections import EngineConnections
from writ_containers.engine_survey import survey
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_contracts.target_tests import StepName, TargetTestStep

UNTRIED = frozenset({"no_credentials", "invalid_connection"})


async def tested(engines: EngineConnections, target: Target, operations: Collection[str]) -> TargetTestResult:
    """Return how the engine is; never raises WritError."""
    try:
        async with engines.fresh(target) as engine:
            found = await survey(engine, target)
            where = shown(engine.endpoint)
    except WritError as error:
        name: StepName = "credentials" if error.code in UNTRIED else "connection"
        step = TargetTestStep(name=name, well=False, detail=str(error))
        return TargetTestResult(steps=[step], code=error.code, message=str(error))
    steps = [
        TargetTestStep(name="connection", well=True, detail=where),
        TargetTestStep(name="host", well=True, detail=found.os),
    ]
    if found.problem:
        return TargetTestResult(steps=steps, code="engine_too_old", message=found.problem, versions=found.versions)
    return TargetTestResult(
        steps=steps,
        versions=found.versions,
        operations=sorted(set(operations) - found.lacking.keys()),
        lacking=found.lacking,
        fails=found.fails,
    )
