"""Target tests: the backend connects and reads. Every path ends in a report of the steps taken."""

import time

from msgspec.structs import replace

from writ_agent.backends.bounded_call import bounded
from writ_agent.backends.port import Backend, TargetTester, TargetTestResult, cannot_test_targets
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.verification import VerificationContext
from writ_contracts.bounds import cut
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_contracts.operations import has_operation
from writ_contracts.plugins import digest_problem
from writ_contracts.target_tests import TargetReport, TargetTestStep
from writ_contracts.version import VERSION
from writ_runtime.logs import Log

_log = Log("writ.agent")


async def timed_test(backend: Backend, target: Target, seconds: float) -> tuple[TargetTestResult, float]:
    """Test the target within `seconds`. Return the result and the seconds it took."""
    began = time.monotonic()
    return await _tested(backend, target, seconds), time.monotonic() - began


async def _tested(backend: Backend, target: Target, seconds: float) -> TargetTestResult:
    if not isinstance(backend, TargetTester):
        return _failed_test(cannot_test_targets(backend.name))
    try:
        return await bounded(seconds, backend.test_target(target))
    except TimeoutError:
        return _remembered(
            backend, target, TargetTestResult(code="timeout", message=f"not tested within {seconds:g} s")
        )
    except WritError as error:
        return _failed_test(error)
    except Exception as error:  # noqa: BLE001 - a defect of the backend is reported, and logged in full
        _log.error("agent.test_broke", target=target.id, exception=error)
        found = TargetTestResult(code="internal", message="a defect in the agent; its log has the details")
        return _remembered(backend, target, found)


def target_report(
    trust: VerificationContext, identity: AgentIdentity, grant: ReadGrant, found: tuple[TargetTestResult, float]
) -> TargetReport:
    """Return the test report, with the operations offered by the target's entry."""
    result, seconds = found
    target, catalogue = grant.target, trust.catalogue
    offered = {name for name, one in catalogue.items() if has_operation(target, one)}
    refused = {name: problem for name in offered if (problem := _plugin_problem(trust, grant, name))}
    lacking = {**{name: why for name, why in result.lacking.items() if name in offered}, **refused}
    return TargetReport(
        target=target.id,
        pool=identity.pool,
        instance=identity.instance,
        agent_version=VERSION,
        steps=[TargetTestStep(name="agent", well=True, detail=identity.instance), *map(_short_step, result.steps)],
        code=result.code,
        message=result.message[:1000],
        versions=result.versions,
        operations=sorted(offered & set(result.operations) - refused.keys()),
        lacking={name: cut(why) for name, why in sorted(lacking.items())},
        seconds=round(seconds, 3),
    )


def _plugin_problem(trust: VerificationContext, grant: ReadGrant, operation: str) -> str:
    """Return why policy refuses this agent's build of a plugin for the operation; empty if it does not."""
    own = trust.plugins(operation)
    return digest_problem(own, {name: grant.plugins.get(name, []) for name in own})


def _short_step(step: TargetTestStep) -> TargetTestStep:
    return replace(step, detail=cut(step.detail))


def _remembered(backend: TargetTester, target: Target, found: TargetTestResult) -> TargetTestResult:
    """Record a failure the backend itself could not record: a timeout, or a defect."""
    backend.target_health.record(target.id, found.code)
    return found


def _failed_test(error: WritError) -> TargetTestResult:
    return TargetTestResult(code=error.code, message=str(error))
