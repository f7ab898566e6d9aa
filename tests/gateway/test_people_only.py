"""No tool approves, publishes, rolls back, declares, lifts, stops or enrols: over the whole list of tools.

The caller is the operator, who may do all of this by `writ`. The test watches every message that the gateway sends.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.architecture.tree import ROOT, imported
from tests.gateway.conftest import connected, serving

from writ_bus.port import Bus, Message
from writ_contracts.catalogue import CONTROL
from writ_contracts.errors import Invalid
from writ_gateway.client import CANCEL, WINDOWS
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOR_PEOPLE = sorted(one.name for one in CONTROL if one.name not in (CANCEL, *WINDOWS))
ANSWER = "a" * 26


class RecordingBus:
    """Passes everything on, and notes the subjects of requests and messages."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.subjects: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        self.subjects.append(subject)
        return await self._bus.request(subject, data, timeout=timeout, headers=headers)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.subjects.append(subject)
        await self._bus.publish(subject, data, headers)


def arguments(schema: Mapping[str, Any], operation: str) -> dict[str, Any]:
    """Return arguments for the schema, with this operation's name as every text."""
    names = {"operation_id": ANSWER, "target_id": "writ", "target_ids": ["writ"], "target_role": None, "tag": None}
    kinds: dict[str, Any] = {"string": operation, "object": {"operation_id": ANSWER}, "array": [], "boolean": False}
    found = {}
    for name, part in schema["properties"].items():
        value = names[name] if name in names else kinds.get(part.get("type", "string"), 0)
        if value is not None and not (
            part.get("type") in ("integer", "number") and name not in schema.get("required", ())
        ):
            found[name] = value
    return found


async def everything(client: Client, operation: str) -> None:
    for tool in (await client.list_tools()).tools:
        values = arguments(tool.input_schema, operation)
        if "wait" in tool.input_schema["properties"]:
            values["wait"] = 0
        result = await client.call_tool(tool.name, values)
        assert isinstance(result.structured_content, dict), tool.name


async def test_no_tool_sends_a_request_that_is_for_people(installation: RunningInstallation) -> None:
    buses: list[RecordingBus] = []

    def watched(bus: Bus) -> Bus:
        buses.append(RecordingBus(bus))
        return buses[-1]

    async with serving(installation, "full", principal="operator", bus=watched) as client:
        for operation in FOR_PEOPLE:
            await everything(client, operation)
    sent = [subject.split(".") for subject in buses[0].subjects]
    requested = {parts[3] for parts in sent if parts[1] == "request"}
    assert requested
    assert requested & set(FOR_PEOPLE) == set()
    assert {parts[1] for parts in sent} <= {"request", "query", "api"}


@pytest.mark.parametrize("operation", FOR_PEOPLE)
async def test_gateway_refuses_an_operation_for_people_by_name(
    installation: RunningInstallation, operation: str
) -> None:
    async with serving(installation, principal="operator") as client:
        request = {"operation_type": operation, "target_id": "writ", "parameters": {}, "reason": "let me"}
        for tool in ("request_operation", "preview_operation"):
            result = await client.call_tool(
                tool, {name: request[name] for name in request if tool[0] == "r" or name != "reason"}
            )
            assert result.is_error
            assert result.structured_content is not None
            assert result.structured_content["code"] == "for_people"


async def test_the_gateway_imports_no_command_of_people_and_calls_none() -> None:
    """`Writ` has methods for people; only `AgentClient`, which refuses them, knows how to send a request."""
    for_people = ("policy_publish", "policy_rollback", "emergency_declare", "emergency_end", "stop_set", "stop_lift")
    methods = (*for_people, "update_policy_config", "rollback_policy", "approval_decide")
    for path in sorted((ROOT / "services/gateway").rglob("*.py")):
        assert {"writ_cli", "writ_installation"} & {name.partition(".")[0] for name in imported(path)} == set(), path
        text = Path(path).read_text()
        assert [name for name in methods if f".{name}(" in text] == [], path


async def test_not_even_the_gateways_own_client_can_sign_an_approval(installation: RunningInstallation) -> None:
    async with connected(installation, "carol") as writ, await installation.client("bot") as bot:
        answer = await bot.submit("test_sleep", "db-1", {"seconds": 0.1, "processes": 0}, reason="a nap")
        card = await writ.approvals.card(answer.operation_id or "", (installation.home.key("policy").public,))
        with pytest.raises(Invalid, match="needs a key"):
            await writ.approvals.reject(card)
        await bot.cancel(answer.operation_id or "")
