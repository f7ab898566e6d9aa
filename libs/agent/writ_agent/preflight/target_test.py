"""A test of a target: the backend goes there and looks; every way out is an account of what was found on the way."""

import asyncio
import time

from writ_agent.backends.port import Backend, Found, Visits, cannot_visit
from writ_agent.reporting.receipts import Identity
from writ_agent.verification import Trust
from writ_contracts.backends import TargetTest, TargetTestStep
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_contracts.operations import offers
from writ_contracts.version import VERSION
from writ_runtime.logs import Log

_log = Log("writ.agent")


async def find(backend: Backend, target: Target, seconds: float) -> tuple[Found, float]:
    """How the target was found within that time, and how long it took."""
    began = time.monotonic()
    return await _found(backend, target, seconds), time.monotonic() - began


async def _found(backend: Backend, target: Target, seconds: float) -> Found:
    if not isinstance(backend, Visits):
        return _ill(cannot_visit(backend.name))
    try:
        async with asyncio.timeout(seconds):
            return await backend.visit(target)
    except TimeoutError:
        return _remembered(backend, target, Found(code="timeout", message=f"not seen within {seconds:g} s"))
    except WritError as error:
        return _ill(error)
    except Exception as error:  # noqa: BLE001 - a defect of the backend is told, and logged whole
        _log.error("agent.test_broke", target=target.id, exception=error)
        found = Found(code="internal", message="a defect of the agent; its log has the details")
        return _remembered(backend, target, found)


def visit(trust: Trust, identity: Identity, target: Target, found: tuple[Found, float]) -> TargetTest:
    """As it is told: of the operations those that the target's entry offers."""
    seen, seconds = found
    catalogue = trust.catalogue
    offered = {name for name, one in catalogue.items() if offers(target.capabilities, target.backend, one)}
    return TargetTest(
        target=target.id,
        pool=identity.pool,
        instance=identity.instance,
        agent_version=VERSION,
        steps=[TargetTestStep(name="agent", well=True, detail=identity.instance), *seen.steps],
        code=seen.code,
        message=seen.message[:1000],
        versions=seen.versions,
        operations=sorted(offered & set(seen.operations)),
        lacking={name: why for name, why in sorted(seen.lacking.items()) if name in offered},
        seconds=round(seconds, 3),
    )


def _remembered(backend: Visits, target: Target, found: Found) -> Found:
    """What the backend did not come to tell: it was cut off, or broke."""
    backend.standings.found(target.id, found.code)
    return found


def _ill(error: WritError) -> Found:
    return Found(code=error.code, message=str(error))
