"""Every container restarted under load, one after the other: no operation fails, is lost or done twice."""

import pytest
from tests.lab.compose.composed import Composed
from tests.lab.compose.load import Writes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SERVICES = ("keeper", "policy", "executor", "audit", "agent-local", "nats")


async def test_operations_succeed_during_a_rolling_restart_of_every_service(composed: Composed) -> None:
    composed.up(policy=2, executor=2, audit=2, agent_local=4)
    try:
        replicas = {service: composed.containers(service) for service in SERVICES}
        assert {service: len(found) for service, found in replicas.items()} == dict(
            zip(SERVICES, (1, 2, 2, 2, 4, 1), strict=True)
        )
        async with await composed.client() as writ:
            async with Writes(writ, composed).going_on() as ran:
                for container in (one for service in SERVICES for one in replicas[service]):
                    await ran.during(composed.restart, container)
            assert await ran.check() > 2 * sum(map(len, replicas.values()))
    finally:
        composed.up(policy=1, executor=1, audit=1, agent_local=1)
