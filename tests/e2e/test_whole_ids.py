"""The beginning of an id is enough in the parameters of control operations."""

import itertools
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_client.tools.capability_tools import CapabilityTools
from writ_client.whole_ids import OF_FIELD
from writ_contracts.ids import WHOLE_ID, operation_id
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
CONTROLS: dict[str, Any] = {
    "name": "controls",
    "operations": [
        *("stop_set", "stop_lift", "operation_cancel", "audit_read", "session_open", "session_end"),
        *("emergency_declare", "emergency_confirm", "emergency_review"),
    ],
    "allowed": True,
}
NAMES = {"principal_id", "correlation_id"}
"""Parameters that end in `_id`: a name, and an id of any length, whose beginning may be another whole one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    people: list[tuple[str, dict[str, Any]]] = [("alice", {"roles": ["admin"]})]
    home = prepare(folder, policy=open_policy(CONTROLS), principals=people)
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def test_every_id_of_a_control_operation_may_be_given_by_its_beginning() -> None:
    control = [one for one in load_catalogue().values() if one.control]
    named = {field.encode_name for one in control for field in msgspec.structs.fields(one.parameters)}
    assert {name for name in named if name.endswith("_id")} - NAMES == set(OF_FIELD)


@pytest.mark.parametrize("name", sorted({*OF_FIELD} - {"operation_id"}))
async def test_whole_id_is_taken_without_a_reply_of_any_service(name: str) -> None:
    number = "a" * WHOLE_ID
    assert await OF_FIELD[name](cast("Writ", object()), number) == number


def keys_with_one_beginning(principal: str) -> tuple[str, str, str]:
    """Return two idempotency keys, and the beginning that the ids of their operations have in common."""
    seen: dict[str, str] = {}
    for number in itertools.count():
        key = f"stop-{number}"
        beginning = operation_id(principal, key)[:2]
        if beginning in seen:
            return seen[beginning], key, beginning
        seen[beginning] = key
    raise AssertionError


@pytest.mark.parametrize("command", [("simulate",), ("policy", "can-i"), ("policy", "explain"), ("run",)])
async def test_stop_lift_takes_the_beginning_of_the_id_of_a_stop(
    installation: RunningInstallation, writ: Writ, command: tuple[str, ...]
) -> None:
    stop = await writ.stop_set(["web-*"], reason="found something")
    done = await installation.json(*command, "stop_lift", f"stop_id={stop.operation_id[:8]}")
    judged = done.get("verdict") or done
    assert judged.get("outcome", judged.get("decision")) in ("succeeded", "allow"), done
    none = await installation.json(*command, "stop_lift", "stop_id=777777777777", status=2)
    assert (none["error"]["code"], none["error"]["message"]) == ("not_found", "no stop id begins with '777777777777'")
    if command != ("run",):
        await writ.stop_lift(stop.operation_id)


async def test_beginning_of_several_ids_is_refused_with_all_of_them(
    installation: RunningInstallation, writ: Writ
) -> None:
    *keys, beginning = keys_with_one_beginning(writ.principal)
    scope = {"scope": ["web-*"], "reason": "found something"}
    ids = sorted([(await writ.run("stop_set", "writ", scope, idempotency_key=key)).operation_id for key in keys])
    refused = await installation.json("run", "stop_lift", f"stop_id={beginning}", status=2)
    assert refused["error"]["message"] == f"2 stop ids begin with '{beginning}': {', '.join(ids)}"
    for one in ids:
        await writ.stop_lift(one)


async def test_emergency_session_and_operation_are_named_by_the_beginning_of_their_ids(
    installation: RunningInstallation, writ: Writ
) -> None:
    emergency = await writ.emergency_declare(["web-*"], reason="an intrusion", until=time.time() + 600)
    assert emergency.outcome == "succeeded", emergency
    ending = ("emergency_confirm", f"emergency_id={emergency.operation_id[:8]}", "verdict=end")
    assert (await installation.json("run", *ending))["outcome"] == "succeeded"
    session = await writ.run("session_open", "writ", {"key": Key(generate_seed()).public, "seconds": 600})
    assert session.outcome == "succeeded", session
    end = await installation.json("run", "session_end", f"session_id={session.operation_id[:8]}")
    assert end["outcome"] == "succeeded"
    began = await writ.submit("test_sleep", "web-1", {"seconds": 60, "timeout": 120})
    assert began.outcome is None, began
    assert began.operation_id
    cancel = await installation.json("run", "operation_cancel", f"operation_id={began.operation_id[:12]}")
    assert (cancel["outcome"], cancel["parameters"]["operation_id"]) == ("succeeded", began.operation_id)


async def test_repeated_lift_by_the_beginning_of_an_id_returns_the_first_outcome(
    installation: RunningInstallation, writ: Writ
) -> None:
    stop = await writ.stop_set(["web-*"], reason="found something")
    words = ("run", "stop_lift", f"stop_id={stop.operation_id[:12]}", "--idempotency-key", f"lift-{stop.operation_id}")
    first, second = await installation.json(*words), await installation.json(*words)
    assert (first["outcome"], first["parameters"]) == ("succeeded", {"stop_id": stop.operation_id})
    assert {name: second[name] for name in ("operation_id", "outcome", "parameters")} == {
        name: first[name] for name in ("operation_id", "outcome", "parameters")
    }


async def test_record_and_retry_of_a_run_take_the_beginning_of_its_correlation_id(
    installation: RunningInstallation,
) -> None:
    failed = await installation.writ("run", "test_fail", "-t", "web-*", "--correlation-id", "roll-7f3a", "-o", "json")
    first = msgspec.json.decode(failed.out.splitlines()[0])
    traced = await installation.json("trace", "roll-7")
    assert {event["body"]["correlation_id"] for event in traced["events"]} == {"roll-7f3a"}
    found = await installation.json("audit", "search", "--correlation-id", "roll-7")
    assert [one["operation_id"] for one in found["rows"]] == [first["operation_id"]]
    retried = await installation.writ("run", "test_fail", "--retry", "roll-7", "-o", "json")
    assert msgspec.json.decode(retried.out.splitlines()[-1])["run"] == "roll-7f3a"
    again = await installation.json("audit", "search", "--correlation-id", "roll-7f3a")
    assert len(again["rows"]) == 2, "the retry belongs to the same run"
    await installation.json("run", "test_noop", "-t", "web-1", "--correlation-id", "roll-7b")
    for words in (("trace",), ("audit", "search", "--correlation-id")):
        several = await installation.json(*words, "roll-7", status=2)
        assert several["error"]["message"] == "several correlation ids begin with 'roll-7': roll-7b, roll-7f3a"


async def test_high_level_tools_take_the_beginnings_of_ids(writ: Writ) -> None:
    tools = CapabilityTools(writ, load_catalogue())
    began = await writ.submit("test_sleep", "web-1", {"seconds": 60, "timeout": 120})
    beginning = (began.operation_id or "")[:12]
    assert (await tools.get_operation_status(beginning))["operation_id"] == began.operation_id
    assert (await tools.wait_for_operation(beginning, wait=0.1))["operation_id"] == began.operation_id
    cancelled = await tools.cancel_operation(beginning, "no longer needed")
    assert cancelled["parameters"]["operation_id"] == began.operation_id
    stop = await writ.stop_set(["web-*"], reason="found something")
    lift = {"stop_id": stop.operation_id[:12]}
    judged = await tools.simulate_operation("stop_lift", "writ", parameters=lift)
    assert judged["policy_evaluation"]["decision"] == "allow"
    lifted = await tools.execute("stop_lift", "writ", lift)
    assert (lifted["status"], lifted["parameters"]["stop_id"]) == ("succeeded", stop.operation_id)
