"""Clients of both ages of the protocol, with each capability that could replace a person's approval."""

from typing import Any

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult
from tests.gateway.conftest import call
from tests.gateway.test_approvals import requested
from tests.gateway.test_http import token
from tests.gateway.test_tasks import Tasks

from writ_testing.exhaustive import some
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bearer(installation: RunningInstallation) -> dict[str, str]:
    return {"Authorization": f"Bearer {await token(installation)}"}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("capability", some(["none", "elicitation", "sampling", "tasks"], "elicitation", "tasks"))
async def test_pending_operation_is_a_handle_or_a_task_and_no_client_can_approve(
    installation: RunningInstallation, bearer: dict[str, str], url: str, mode: str, capability: str
) -> None:
    prompts: list[Any] = []

    async def accept(context: Any, params: ElicitRequestParams) -> ElicitResult:
        prompts.append(params)
        return ElicitResult(action="accept", content={"approve": True})

    async def sample(context: Any, params: Any) -> Any:
        prompts.append(params)
        raise AssertionError("the gateway asks no model")

    tasks = Tasks()
    options: dict[str, dict[str, Any]] = {
        "none": {},
        "elicitation": {"elicitation_callback": accept},
        "sampling": {"sampling_callback": sample},
        "tasks": {"extensions": [tasks]},
    }
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, cache=None, **options[capability]) as client,
    ):
        if capability == "tasks" and mode == "auto":
            request = {"operation_type": "test_sleep", "target_id": "db-1", "reason": "a nap"}
            await client.call_tool("request_operation", {**request, "parameters": {"seconds": 0.1, "processes": 0}})
            (made,) = tasks.created
            operation_id, status = made.task_id, made.status
        else:
            handle = await requested(client)
            operation_id, status = handle["operation_id"], handle["status"]
        assert status == ("working" if tasks.created else "awaiting_approval")
        assert (await call(client, "get_operation_status", operation_id=operation_id))["status"] == "awaiting_approval"
        async with await installation.client("carol") as carol:
            card = await carol.approvals.card(operation_id, (installation.home.key("policy").public,))
            await carol.approvals.reject(card, reason="seen")
        ended = await call(client, "wait_for_operation", operation_id=operation_id, wait=20)
    assert (ended["status"], prompts) == ("rejected", [])
