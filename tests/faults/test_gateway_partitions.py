"""Partitions of the gateway: what an AI agent requests over HTTP while the gateway's link to NATS fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any, get_args

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.faults.test_kills import ENVIRON
from tests.faults.test_partitions import FAULTS, HELD, LONG, SUCCEEDED, TARGETS, Ask, part
from tests.gateway.conftest import call, listening
from tests.gateway.test_http import token

from writ_client.client import Writ
from writ_contracts.journal import Outcome
from writ_testing.installations.installation import local_target, prepare
from writ_testing.installations.linked_installation import LinkedInstallation, linked_installation
from writ_testing.peers.links import Fault

pytestmark = [pytest.mark.exhaustive, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
PRINCIPALS: list[tuple[str, dict[str, Any]]] = [
    ("gateway", {"kind": "gateway", "roles": []}),
    ("bot", {"kind": "agent", "acts_for": "operator", "via": "gateway"}),
]
ENDS = get_args(Outcome)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LinkedInstallation]:
    """Two executors, and one of each other service, the gateway included."""
    folder = tmp_path_factory.mktemp("partitions")
    targets = [local_target(f"web-{number}", folder / "files") for number in range(TARGETS)]
    home = prepare(folder, targets=targets, principals=PRINCIPALS)
    environ = {**ENVIRON, "WRIT_MCP_PORT": "0"}
    async with linked_installation(folder, home, environ=environ, arguments=("--gateway",)) as linked:
        yield linked


@asynccontextmanager
async def by_gateway(linked: LinkedInstallation) -> AsyncIterator[tuple[Writ, Ask]]:
    """Yield the client of an AI agent, and requests by its MCP client over HTTP."""
    url = listening(linked.installation.home.log / "gateway.log")
    bearer = {"Authorization": f"Bearer {await token(linked.installation)}"}
    async with (
        await linked.installation.client("bot") as writ,
        httpx2.AsyncClient(headers=bearer, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as client,
    ):

        async def ask(key: str, target: str, parameters: dict[str, Any]) -> str | None:
            request = {"operation_type": "test_count", "target_id": target, "parameters": parameters}
            done = await call(client, "request_operation", reason="count", idempotency_key=key, **request)
            return done["status"] if done["status"] in ENDS else None

        yield writ, ask


@pytest.mark.parametrize(("fault", "seconds"), [*product(FAULTS, (HELD,)), ("silent", LONG)])
async def test_partition_of_the_gateway_loses_doubles_and_falsifies_nothing(
    linked: LinkedInstallation, fault: Fault, seconds: float
) -> None:
    async with by_gateway(linked) as (writ, ask):
        outcomes = await part(linked, writ, ask, "gateway", fault, seconds)
    assert set(outcomes) <= SUCCEEDED, outcomes
