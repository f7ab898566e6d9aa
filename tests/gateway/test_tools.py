"""Tools of the gateway, called by the SDK's client, with a real installation behind."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import MCPError
from tests.gateway.conftest import call, serving

from writ_bus.errors import NO_SERVICE
from writ_client.client import Writ
from writ_client.operations.operation_events import EventFollower
from writ_client.tools.results import operation_result
from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_contracts.requests import OperationView
from writ_gateway import results
from writ_gateway.tools import operation_tools, policy_tools
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_change_is_requested_and_recorded_as_the_agents(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    path = files / "changed"
    async with serving(installation) as client:
        change = {"operation_type": "test_count", "target_id": "web-1", "parameters": {"path": str(path)}}
        done = await call(client, "request_operation", reason="count once", idempotency_key="once", **change)
        again = await call(client, "request_operation", reason="count once", idempotency_key="once", **change)
        assert done["status"] == again["status"] == "succeeded"
        assert done["operation_id"] == again["operation_id"]
        assert await call(client, "get_operation_status", operation_id=done["operation_id"])
        events = (await call(client, "get_trace", operation_id=done["operation_id"]))["events"]
    assert len(path.read_text().splitlines()) == 1
    requested = next(event for event in events if event["event"] == "requested")
    assert (requested["body"]["principal"], requested["body"]["acts_for"]) == ("bot", "alice")


async def test_a_long_trace_has_pages_and_a_long_explanation_counts_what_it_omits(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    noop = {"operation_type": "test_noop", "target_id": "web-1"}
    async with serving(installation) as client:
        done = await call(client, "request_operation", reason="trace it", **noop)
        whole = await call(client, "get_trace", operation_id=done["operation_id"])
        judged = [await call(client, tool, **noop) for tool in ("simulate_operation", "explain_decision")]
        monkeypatch.setattr(operation_tools, "MOST_EVENTS", 2)
        monkeypatch.setattr(policy_tools, "MOST_TRACE", 0)
        pages, after = list[dict[str, Any]](), 0
        while not pages or pages[-1]["more"]:
            pages.append(await call(client, "get_trace", operation_id=done["operation_id"], after=after))
            after = pages[-1]["events"][-1]["sequence"]
        short = [await call(client, tool, **noop) for tool in ("simulate_operation", "explain_decision")]
    assert whole["more"] is False
    assert len(pages) > 1
    assert [event for page in pages for event in page["events"]] == whole["events"]
    for all_of_it, part in zip(judged, short, strict=True):
        assert (part["trace"], all_of_it["trace_omitted"]) == ([], 0)
        assert part["trace_omitted"] == len(all_of_it["trace"]) > 0


async def test_a_denial_is_a_result_with_rule_and_advice(installation: RunningInstallation, files: Path) -> None:
    async with serving(installation) as client:
        denied = await call(
            client,
            "request_operation",
            operation_type="test_count",
            target_id="db-1",
            parameters={"path": str(files / "never")},
            reason="try",
        )
        assert (denied["status"], denied["policy_evaluation"]["decision"]) == ("denied", "deny")
        assert denied["policy_evaluation"]["rules"] == ["production_stays"]
        assert "a person" in denied["advice"]
        explained = await call(
            client, "explain_decision", operation_type="test_count", target_id="db-1", parameters={"path": "x"}
        )
        assert explained["policy_evaluation"]["decision"] == "deny"
    assert not (files / "never").exists()


async def test_the_read_tool_refuses_a_change_before_anything_is_sent(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    async with serving(installation) as client:
        refused = await call(client, "read", operation_type="test_count", target_id="web-1", parameters={"path": "x"})
        assert (refused["status"], refused["code"]) == ("error", "read_only")
        listed = await call(client, "list_my_operations", open_only=False)
    assert "test_count" not in [one["operation_type"] for one in listed["operations"] if one["status"] == "invalid"]


async def test_a_read_only_server_lists_and_sends_no_change(installation: RunningInstallation, files: Path) -> None:
    async with serving(installation, "full", read_only=True) as client:
        tools = (await client.list_tools()).tools
        assert tools
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        with pytest.raises(MCPError, match="no tool 'request_operation'"):
            await client.call_tool("request_operation", {})
        preview = await call(
            client,
            "preview_operation",
            operation_type="test_count",
            target_id="web-1",
            parameters={"path": str(files / "previewed")},
        )
        assert preview["status"] == "previewed"
    assert not (files / "previewed").exists()


async def test_an_operation_that_takes_long_gives_a_handle_and_is_found_by_it(
    installation: RunningInstallation, files: Path
) -> None:
    async with serving(installation) as client:
        began = await call(
            client,
            "request_operation",
            operation_type="test_sleep",
            target_id="web-1",
            parameters={"seconds": 600, "processes": 1},
            reason="sleep",
            wait=0,
        )
        assert began["status"] in ("pending", "running")
        assert began["next"] == {"tool": "wait_for_operation", "arguments": {"operation_id": began["operation_id"]}}
    async with serving(installation, mode="legacy") as client:
        mine = await call(client, "list_my_operations")
        assert began["operation_id"] in [one["operation_id"] for one in mine["operations"]]
        waited = await call(client, "wait_for_operation", operation_id=began["operation_id"], wait=0)
        assert waited["status"] in ("pending", "running")
        cancelled = await call(client, "cancel_operation", operation_id=began["operation_id"], reason="enough")
        assert cancelled["output"]["result"] in ("stopped", "cancelled")  # whether it ran yet
        assert (await call(client, "get_operation_status", operation_id=began["operation_id"]))["status"] == "cancelled"


async def test_the_status_of_a_call_whose_wait_ends_is_that_of_the_operation_then(
    installation: RunningInstallation,
) -> None:
    """The reply to the request says `pending`; by the end of the wait the operation runs."""
    request = {"operation_type": "test_sleep", "target_id": "web-1", "reason": "sleep"}
    sleeping: dict[str, Any] = {**request, "parameters": {"seconds": 600, "processes": 1}}
    async with serving(installation) as client:
        began = await call(client, "request_operation", **sleeping, wait=3)
        behind = await call(client, "request_operation", **sleeping, wait=3)
        listed = await call(client, "get_operation_status", operation_id=behind["operation_id"])
        for one in (behind, began):
            await call(client, "cancel_operation", operation_id=one["operation_id"], reason="enough")
    assert (began["status"], began["message"]) == ("running", "")
    text = f"waits for web-1: test_sleep {began['operation_id']} holds its lock (started)"
    assert [(one["status"], one["message"]) for one in (behind, listed)] == [("pending", text)] * 2


async def test_a_change_without_a_reply_is_found_by_its_id_and_repeated_by_its_key(
    installation: RunningInstallation, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped executors take requests up once they go on."""
    monkeypatch.setattr("writ_client.operations.submission.SUBMIT_SECONDS", 1.0)
    parameters = {"path": str(files / "late")}
    request = {"operation_type": "test_count", "target_id": "web-1", "parameters": parameters, "reason": "once"}
    async with serving(installation) as client:
        with installation.paused("executor"):
            silent = await call(client, "request_operation", **request)
            read = await call(client, "read", operation_type="test_noop", target_id="web-1")
        assert (silent["status"], silent["code"], silent["retry"]) == ("error", "timeout", False)
        assert (read["code"], read["retry"]) == ("timeout", True)
        monkeypatch.undo()
        again = await call(client, "request_operation", **request, idempotency_key=silent["idempotency_key"])
        found = await call(client, silent["next"]["tool"], **silent["next"]["arguments"])
    assert (again["status"], again["operation_id"]) == ("succeeded", silent["operation_id"])
    assert (found["status"], found["operation_id"]) == ("succeeded", silent["operation_id"])
    assert len((files / "late").read_text().splitlines()) == 1


async def test_change_that_was_not_sent_is_not_said_to_be_accepted_perhaps(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unconfirmed(_: EventFollower) -> None:
        raise TimedOut("no pong in 5 s")

    async with serving(installation) as client:
        monkeypatch.setattr(EventFollower, "start", unconfirmed)
        reply = await call(client, "request_operation", operation_type="test_count", target_id="web-1", reason="once")
    assert reply["message"] == "no pong in 5 s; nothing was changed or requested"
    assert (reply["retry"], "operation_id" in reply) == (True, False)


async def test_progress_names_the_steps_of_an_operation(installation: RunningInstallation, files: Path) -> None:
    steps: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message or "")

    arguments = {"path": str(files / "stepwise"), "delay": 0.3}
    async with serving(installation) as client:
        request = {"operation_type": "test_count", "target_id": "web-1", "parameters": arguments, "reason": "steps"}
        await client.call_tool("request_operation", request, progress_callback=on_progress)
    assert "granted" in steps


MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("read", {"target_id": "web-1"}, "operation_type"),
    ("read", {"operation_type": "test_noop", "target_id": 7}, "target_id"),
    ("read", {"operation_type": "test_noop", "target_id": "a b"}, "target_id"),
    ("read", {"operation_type": "test_noop", "target_id": "web-1", "surprise": 1}, "surprise"),
    ("read", {"operation_type": "test_noop", "target_id": "web-1", "parameters": {"timeout": "7"}}, "timeout"),
    ("read", {"operation_type": "no_such", "target_id": "web-1"}, "operation_type"),
    (
        "request_operation",
        {"operation_type": "test_count", "target_id": "web-1", "parameters": {}, "reason": "x"},
        "path",
    ),
    ("request_operation", {"operation_type": "test_noop", "target_id": "web-1"}, "reason"),
    ("wait_for_operation", {"operation_id": "X"}, "operation_id"),
    ("wait_for_operation", {"operation_id": "a" * 26, "wait": 51}, "wait"),
    ("list_targets", {"target_role": "palace"}, "target_role"),
    ("search_operations", {"target_id": "nowhere"}, "target_id"),
]


async def test_every_malformed_argument_is_named(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        for tool, arguments, field in MALFORMED:
            refused = await call(client, tool, **arguments)
            assert refused["status"] in ("error", "invalid"), (tool, arguments)
            assert field in refused["message"], refused["message"]


async def test_misspelt_operation_or_parameter_is_refused_with_the_nearest_and_not_recorded(
    installation: RunningInstallation,
) -> None:
    wrong = {"target_id": "web-1", "parameters": {"service_nmae": "nginx"}, "reason": "x"}
    async with serving(installation) as client:
        refused = await call(client, "request_operation", operation_type="service_restrat", **wrong)
        assert (refused["code"], "did you mean 'service_restart'?" in refused["message"]) == ("unknown_operation", True)
        refused = await call(client, "request_operation", operation_type="service_restart", **wrong)
        assert (refused["code"], "did you mean 'service_name'?" in refused["message"]) == ("invalid_parameters", True)
        listed = await call(client, "list_my_operations", open_only=False)
    assert "service_restart" not in [one["operation_type"] for one in listed["operations"]]


async def test_request_for_an_unknown_target_is_advised_to_list_them(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        refused = await call(client, "read", operation_type="test_noop", target_id="mail-server")
    assert (refused["code"], "list_targets" in refused["advice"]) == ("unknown_target", True)


async def test_errors_about_silent_services_name_no_subjects() -> None:
    for text in (f"{beginning}request.bot.test_noop in 5 s" for beginning in NO_SERVICE):
        assert results.in_words(TimedOut(text)) == results.NO_REPLY
        assert results.in_words(Unreachable(f"{text}; an earlier attempt had no reply")) == (
            f"{results.NO_REPLY}; an earlier attempt had no reply"
        )
        assert results.in_words(Invalid(text)) == text


async def test_operations_within_reach_are_found_and_described(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        found = await call(client, "search_operations", query="restart service", target_id="web-1")
        assert [one["operation_type"] for one in found["operations"]] == ["service_restart"]
        described = await call(client, "describe_operation", operation_type="service_restart")
        jsonschema.Draft202012Validator.check_schema(described["parameters"])
        assert described["parameters"]["required"] == ["service_name"]
        listed = await call(client, "list_targets", limit=1)
        assert (listed["targets"][0]["target_id"], listed["more"], listed["total"]) == ("db-1", True, 2)
        rest = await call(client, "list_targets", after="db-1")
        assert [one["target_id"] for one in rest["targets"]] == ["web-1"]
        hidden = await call(client, "search_operations", query="policy publish")
        assert hidden["operations"] == []


async def test_search_without_an_operation_of_all_words_finds_those_of_some_and_says_so(
    installation: RunningInstallation,
) -> None:
    async with serving(installation) as client:
        found = await call(client, "search_operations", query="restart of nginx services")
        assert [one["operation_type"] for one in found["operations"]] == ["service_restart"]
        assert found["hint"] == "none has all of the words; these have some"
        none = await call(client, "search_operations", query="on nginx")
        everything = len((await call(client, "search_operations"))["operations"])
        assert none["operations"] == []
        assert none["hint"].endswith(f"an empty query lists all {everything} that you may request")


async def test_search_where_nothing_is_permitted_has_no_hint_about_its_words(installation: RunningInstallation) -> None:
    async with serving(installation, principal="visitor") as client:
        for query in ("", "restart"):
            found = await call(client, "search_operations", query=query)
            assert (found["operations"], "hint" in found) == ([], False)


async def test_cancel_of_an_ended_operation_is_advised_to_look_at_it_not_at_the_target(
    installation: RunningInstallation,
) -> None:
    async with serving(installation) as client:
        done = await call(client, "read", operation_type="test_noop", target_id="web-1")
        late = await call(client, "cancel_operation", operation_id=done["operation_id"], reason="enough")
        assert (late["status"], late["code"]) == ("failed", "not_cancellable"), late
        assert late["advice"] == f"{results.NOT_CANCELLED} `next` shows its state."
        assert late["next"] == {"tool": "wait_for_operation", "arguments": {"operation_id": done["operation_id"]}}
        assert (await call(client, late["next"]["tool"], **late["next"]["arguments"]))["status"] == "succeeded"


async def test_failed_cancel_whose_parameters_are_archived_is_advised_without_its_operation() -> None:
    archived = operation_result(
        OperationView(
            operation_id="a" * 26,
            principal="bot",
            operation="operation_cancel",
            target="writ",
            state="archived",
            requested_at=1.0,
            updated_at=2.0,
            correlation_id="c" * 26,
            outcome="failed",
        )
    )
    assert results.advised(archived) == {**archived, "advice": results.NOT_CANCELLED}


async def test_agent_that_edits_a_file_by_its_result_is_warned_before_it_breaks_the_lines(
    installation: RunningInstallation, files: Path
) -> None:
    (files / "dos.ini").write_bytes(b"[a]\r\nb=1\r\n")
    request: dict[str, Any] = {"operation_type": "file_read", "target_id": "web-1"}
    async with serving(installation) as client:
        parameters = {"file_path": str(files / "dos.ini")}
        shown = await call(client, "read", **request, parameters=parameters)
        exact = await call(client, "read", **request, parameters={**parameters, "encoding": "base64"})
    assert (shown["output"]["content"], shown["escaped"]) == ("[a]\\u{d}\nb=1\\u{d}\n", ["output.content"])
    assert "encoding base64" in shown["advice"]
    assert b64decode(exact["output"]["content"]) == (files / "dos.ini").read_bytes()
    assert "escaped" not in exact
