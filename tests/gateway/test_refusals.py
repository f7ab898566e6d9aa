"""Requests that the gateway refuses before they become a record are visible in its log and by a metric."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from tests.gateway.conftest import call, command
from tests.gateway.test_http import token

from writ_contracts.errors import Denied, Invalid
from writ_gateway.http.unauthenticated import MOST_ADDRESSES, OTHERS, UnauthenticatedRequests
from writ_gateway.refusals import KINDS, Refusals
from writ_installation.processes.readiness import read_run_file
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "hunter2-of-the-agent"
REASON = {"target_id": "web-1", "reason": "to see"}
PROBES: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown_operation": ("request_operation", {"operation_type": "run_hunter", **REASON}),
    "invalid_parameters": (
        "request_operation",
        {"operation_type": "service_restart", "parameters": {"service_nmae": SECRET}, **REASON},
    ),
    "for_people": ("request_operation", {"operation_type": "policy_publish", **REASON, "target_id": "writ"}),
    "read_only": ("read", {"operation_type": "service_restart", "target_id": "web-1"}),
    "not_found": ("get_operation_status", {"operation_id": "a" * 26}),
    "key_mismatch": ("execute_test_noop", {"target_id": "web-1", "requested_by": "alice"}),
}


async def probe(client: Client, *kinds: str) -> None:
    for kind in kinds:
        tool, arguments = PROBES[kind]
        assert (await call(client, tool, **arguments))["code"] == kind
    with pytest.raises(MCPError):
        await client.call_tool("approve_operation", {"operation_id": "a" * 26})


async def test_refusals_over_http_are_counted_by_principal_and_kind(
    installation: RunningInstallation, url: str
) -> None:
    bearer = {"Authorization": f"Bearer {await token(installation)}"}
    kinds = [kind for kind in PROBES if kind != "key_mismatch"]  # a tool of the other profile
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as client,
    ):
        await probe(client, *kinds, "for_people")
        assert (await call(client, "read", operation_type="test_noop", target_id="web-1"))["status"] == "succeeded"
    found = await refused(installation)
    expected = Counter(kinds) + Counter(["for_people", "unknown_tool"])
    assert found == {("bot", kind): number for kind, number in expected.items()}


async def refused(installation: RunningInstallation) -> dict[tuple[str, str], float]:
    """Return the gateway's counts that are not 0."""
    served = read_run_file(installation.home.run / "gateway.json", installation.pid("gateway"))
    assert served is not None
    async with httpx2.AsyncClient(timeout=20) as http:
        text = (await http.get(f"http://127.0.0.1:{served.health_port}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("writ_gateway_refused_total{")]
    counts = {tuple(line.split('"')[1::2]): float(line.rpartition(" ")[2]) for line in lines}
    return {(names[1], names[0]) if names[0] in KINDS else (names[0], names[1]): n for names, n in counts.items() if n}


async def test_refusals_over_stdio_are_in_the_log_of_the_client_without_values(
    installation: RunningInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 60.0)  # the last line comes at the end
    with (tmp_path / "errors").open("w") as errors:
        async with Client(
            stdio_client(command(installation, "--profile", "full"), errlog=errors), cache=None
        ) as client:
            await probe(client, *PROBES)
    lines = [line for line in (tmp_path / "errors").read_text().splitlines() if "gateway.refused" in line]
    first, others = lines  # of the others within a minute, here until the end
    assert '"principal":"bot"' in first
    assert '"event":"gateway.refused_further"' in others
    assert '"unknown_tool":1' in others
    assert SECRET not in first + others


async def test_further_refusals_within_a_minute_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counter[tuple[str, str]]()

    def count(principal: str, kind: str) -> None:
        counted[principal, kind] += 1

    with caplog.at_level(logging.WARNING, "writ.gateway"):
        refusals = Refusals(count, quiet=0.05)
        for _ in range(1000):
            refusals.refused("bot", Invalid("no", code="unknown_operation"), "read")
        refusals.refused("bot", Denied("no", code="for_people"), "read", "stop_set")
        refusals.refused("tidy", Denied("no", code="of_another_release"), "read")

        async def quiet() -> bool:
            return len(caplog.records) == 3 and not refusals._since

        await eventually(quiet, what="the line about the others")
    assert counted == {("bot", "unknown_operation"): 1000, ("bot", "for_people"): 1, ("tidy", "other"): 1}
    assert [record.getMessage() for record in caplog.records].count("gateway.refused") == 2
    (further,) = (one for one in caplog.records if one.getMessage() == "gateway.refused_further")
    assert further.__dict__["fields"]["kinds"] == {"unknown_operation": 999, "for_people": 1}


async def test_requests_without_a_token_are_in_the_log_by_their_address(
    installation: RunningInstallation, url: str
) -> None:
    """As the runbook of WritGatewayFlood says: without a proxy the gateway alone knows the address."""
    async with httpx2.AsyncClient() as client:
        assert (await client.post(url, json={})).status_code == 401
    log = (installation.home.log / "gateway.log").read_text()
    assert [line for line in log.splitlines() if '"gateway.unauthenticated"' in line and '"127.0.0.1":' in line]


async def test_further_requests_without_a_token_are_one_line_with_a_bounded_number_of_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "writ.gateway"):
        noted = UnauthenticatedRequests(quiet=0.05)
        for number in range(100):
            noted.note(f"192.0.2.{number}")

        async def quiet() -> bool:
            return len(caplog.records) == 2 and noted._since is None

        await eventually(quiet, what="the line about the others")
    first, further = (record.__dict__["fields"] for record in caplog.records)
    assert first == {"requests": 1, "addresses": {"192.0.2.0": 1}}
    assert (further["requests"], len(further["addresses"])) == (99, MOST_ADDRESSES + 1)
    assert further["addresses"][OTHERS] == 99 - MOST_ADDRESSES
