"""Principals that lose their access to the gateway: disabled, removed, or replaced by another one of the same name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.gateway.conftest import call
from tests.gateway.test_http import post, token

from writ_client.client import Writ
from writ_contracts.ids import operation_id
from writ_documents.atomic_files import save
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELPER = "helper"
ADD = ("principal", "add", HELPER, "--kind", "agent", "--acts-for", "alice", "--via", "gateway", "--role", "operator")


@asynccontextmanager
async def client(url: str, bearer: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as made,
    ):
        yield made


async def done(installation: RunningInstallation, *command: str) -> str:
    ended = await installation.writ(*command)
    assert ended.status == 0, ended
    return ended.out


def violations(installation: RunningInstallation) -> list[str]:
    """Return what NATS refused to the gateway for the helper."""
    lines = (installation.home.log / "nats.log").read_text().splitlines()
    return [line for line in lines if " Violation " in line and f".{HELPER}." in line]


@pytest_asyncio.fixture(loop_scope="module")
async def bearer(installation: RunningInstallation) -> AsyncIterator[str]:
    """A token of the helper, which exists for one test."""
    await done(installation, *ADD)
    yield await token(installation, HELPER)
    await installation.writ("principal", "remove", HELPER, "--yes")


async def code_of(url: str, bearer: str) -> str:
    """Return the code of a call, or its status."""
    async with client(url, bearer) as mcp:
        found = await call(mcp, "list_targets")
    return str(found.get("code") or found["status"])


async def test_token_of_a_removed_principal_does_not_count_for_a_later_one_of_its_name(
    installation: RunningInstallation, url: str, bearer: str
) -> None:
    assert (await post(url, Authorization=f"Bearer {bearer}")).status_code == 200
    before = installation.home.gateway_tokens.read_bytes()
    removed = await done(installation, "principal", "remove", HELPER, "--yes")
    assert "1 token of it" in removed
    assert HELPER not in await done(installation, "token", "list")
    save(installation.home.gateway_tokens, before)  # as if its entry had been removed with an editor
    assert (await post(url, Authorization=f"Bearer {bearer}")).status_code == 401
    assert "ended" in await done(installation, "token", "list")
    await done(installation, *ADD)
    assert (await post(url, Authorization=f"Bearer {bearer}")).status_code == 401
    later = await token(installation, HELPER)
    assert (await post(url, Authorization=f"Bearer {later}")).status_code == 200


async def test_token_ends_when_the_key_of_its_principal_is_rotated(
    installation: RunningInstallation, url: str, bearer: str
) -> None:
    assert "1 token of it" in await done(installation, "principal", "rotate", HELPER)
    assert (await post(url, Authorization=f"Bearer {bearer}")).status_code == 401


async def test_calls_of_a_disabled_principal_are_refused_without_a_violation_of_the_gateway(
    installation: RunningInstallation, url: str, bearer: str
) -> None:
    key = "its-agent-is-disabled"
    request: dict[str, Any] = {"operation_type": "test_sleep", "target_id": "web-1", "reason": "x"}
    request |= {"parameters": {"seconds": 600, "processes": 1}, "idempotency_key": key, "wait": 30}
    async with client(url, bearer) as mcp:
        waiting = asyncio.create_task(call(mcp, "request_operation", **request))
        async with await installation.client(HELPER) as own:
            await eventually(lambda: started(own, operation_id(HELPER, key)))
        await done(installation, "principal", "disable", HELPER)
        for _ in range(6):
            refused = await call(mcp, "list_targets")
            assert (refused["code"], refused["message"]) == ("principal_disabled", f"principal {HELPER} is disabled")
        ended = await asyncio.wait_for(waiting, 20)
    assert ended["code"] == "principal_disabled", ended
    assert violations(installation) == []
    await done(installation, "principal", "enable", HELPER)
    await eventually(lambda: works(url, bearer))
    before = violations(installation)
    await done(installation, "principal", "disable", "alice")
    try:
        assert await code_of(url, bearer) == "principal_disabled"
        assert violations(installation) == before
    finally:
        await done(installation, "principal", "enable", "alice")


async def works(url: str, bearer: str) -> bool:
    return await code_of(url, bearer) == "ok"


async def started(writ: Writ, operation: str) -> bool:
    return (operation, "started") in [(one.operation_id, one.state) for one in await writ.open_operations()]
