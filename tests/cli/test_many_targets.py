"""`writ run` on many targets: selection, output, and the exit status."""

import asyncio
import json
from typing import Literal

import pytest
import yaml
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_client.queries.operation_queries import Queries
from writ_contracts.requests import Failure, RequestReply, TargetView, Verdict, WaitingReason
from writ_testing.eventually import eventually

RESTART = ("run", "service_restart", "service_name=nginx")


def view(name: str, role: str = "production", *tags: str) -> TargetView:
    return TargetView(id=name, role=role, backend="ssh", pool="ssh", tags=list(tags), agents=1)


@pytest.fixture(autouse=True)
def inventory(served: ScriptedApi) -> None:
    served.targets = [
        view("db-1", "staging"),
        view("web-1", "production", "eu"),
        view("web-2", "production"),
        view("writ"),
    ]


def acted_on(served: ScriptedApi) -> list[str]:
    return sorted(request.target for _, request in served.requests)


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (("-t", "web-1", "-t", "db-1"), ["db-1", "web-1"]),
        (("-t", "web-*"), ["web-1", "web-2"]),
        (("--role", "production"), ["web-1", "web-2"]),
        (("--tag", "eu"), ["web-1"]),
        (("--role", "production", "-t", "*-1"), ["web-1"]),
        (("--all", "--yes"), ["db-1", "web-1", "web-2"]),
    ],
)
async def test_run_acts_on_exactly_the_chosen_targets(
    command: Command, served: ScriptedApi, words: tuple[str, ...], targets: list[str]
) -> None:
    done = await command(*RESTART, *words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert acted_on(served) == targets
    number = "1 target" if len(targets) == 1 else f"{len(targets)} targets"
    assert f"{number}: {len(targets)} succeeded" in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-t", "web-1", "-t", "web-9"), "no target 'web-9'"),
        (("--tag", "us"), "no target with tag 'us' in the inventory; there are eu\n"),
        (("--tag", "web-9"), "no target with tag 'web-9' in the inventory; there are eu\n"),
        (("--role", "testing"), "no target of role 'testing' in the inventory; there are production, staging\n"),
        (("--all",), "--all is 3 targets: confirm with --yes"),
        (("--all", "-t", "web-1"), "--all is every target"),
        (("-t", "web-1", "--serial", "2"), "--serial is for several targets"),
        (("-t", "web-*", "--serial", "x"), "'x' is neither a number nor a percentage"),
        (("-t", "web-*", "--serial", "1", "--no-wait"), "--serial waits for each outcome"),
        (("--retry", "no-such-run"), "run no-such-run has no service_restart of yours"),
    ],
)
async def test_contradictory_options_are_refused_before_any_request(
    command: Command, served: ScriptedApi, words: tuple[str, ...], why: str
) -> None:
    done = await command(*RESTART, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr
    assert served.requests == []


async def test_a_control_operation_has_no_targets(command: Command, served: ScriptedApi) -> None:
    done = await command("run", "stop_set", "reason=x", "--all", "--yes")
    assert (done.exit_code, served.requests) == (2, [])
    assert "stop_set acts on Writ itself" in done.stderr


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ({}, 0),
        ({"web-1": "failed"}, 1),
        ({"web-1": "denied"}, 3),
        ({"web-1": "denied", "web-2": "failed"}, 1),
        ({"web-1": "denied", "web-2": "unknown"}, 7),
    ],
)
async def test_the_exit_status_is_that_of_the_targets_that_are_not_well(
    command: Command, served: ScriptedApi, outcomes: dict[str, str | None], status: int
) -> None:
    served.outcomes = outcomes
    assert (await command(*RESTART, "-t", "*")).exit_code == status


async def test_people_get_a_line_for_each_target_and_a_recap_by_outcome(command: Command, served: ScriptedApi) -> None:
    served.outcomes = {"web-1": "failed", "db-1": "unknown"}
    done = await command(*RESTART, "-t", "*", "--correlation-id", "roll")
    lines = done.stdout.splitlines()
    assert sorted(line.split()[:2] for line in lines[:3]) == [
        ["db-1", "unknown"],
        ["web-1", "failed"],
        ["web-2", "succeeded"],
    ]
    assert lines[3].startswith("3 targets: ")
    assert "(run roll)" in lines[3]
    assert "  failed: web-1" in lines
    assert "  unknown: db-1" in lines
    assert "--retry roll" in lines[-1]


def awaiting(number: str) -> RequestReply:
    reason = "'ask' demands one of role approver; could approve: bob"
    verdict = Verdict(decision="require_approval", rules=["ask"], reason=reason, code="approval_needed")
    return RequestReply(operation_id=number * 26, correlation_id="c", state="awaiting_approval", verdict=verdict)


async def test_an_approval_that_targets_wait_for_is_reported_at_once(command: Command, served: ScriptedApi) -> None:
    served.script.extend([awaiting("a"), awaiting("b")])
    done = await command(*RESTART, "-t", "web-*", "--timeout", "1s")
    why = "waits for an approval: 'ask' demands one of role approver; could approve: bob"
    assert done.stderr.splitlines() == [
        f"writ: web-1 {why}",
        "writ: approvers use `writ approvals list`",
        f"writ: web-2 {why}",
    ]
    assert done.exit_code == 4


@pytest.mark.parametrize("target", ["web-*", "web-1"])
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("kind", ["target", "limit", "agent"])
async def test_the_reason_for_a_wait_is_on_standard_error_once(
    command: Command, served: ScriptedApi, target: str, form: str, kind: Literal["target", "limit", "agent"]
) -> None:
    """Also where nobody watches: a job that waits for an hour should say for what."""
    served.outcome = None
    served.waiting = WaitingReason(kind=kind, text="waits for another operation")
    done = await command(*RESTART, "-t", target, "-o", form, "--timeout", "1s")
    assert done.exit_code == 4
    assert done.stderr.splitlines()[0] == "writ: waits for another operation"
    assert done.stderr.count("writ: waits for") == 1


async def test_silent_agent_and_host_are_named_once_on_standard_error(command: Command, served: ScriptedApi) -> None:
    served.outcome = None
    silence = "waits for a reply of vm-1 of pool ssh: no heartbeat for more than 7 s"
    served.waiting = WaitingReason(kind="agent", text=silence, silent="vm-1")
    running = asyncio.create_task(command(*RESTART, "-t", "web-*", "-o", "json"))

    async def asked(count: int) -> bool:
        return len(served.lives) == 2 and served.queries["operation"] >= count

    await eventually(lambda: asked(2))
    served.waiting = WaitingReason(kind="agent", text=silence.replace("7", "10"), silent="vm-1")
    first, second = served.lives
    for text in ("web-1 has not replied for more than 3 s", "web-1 has not replied for more than 5 s"):
        await served.progress(first, text, silent="web-1")
    await served.progress(second, "half of it is done")
    await eventually(lambda: asked(4))
    for number in (first, second):
        await served.end(number, "succeeded")
    done = await running
    assert sorted(done.stderr.splitlines()) == sorted(
        [f"writ: {silence}", "writ: web-1 has not replied for more than 3 s"]
    )
    assert [json.loads(line).get("outcome") for line in done.stdout.splitlines()] == ["succeeded", "succeeded", None]


async def test_a_retry_is_offered_only_where_it_would_act(command: Command, served: ScriptedApi) -> None:
    served.outcomes = {"web-1": None}
    done = await command(*RESTART, "-t", "web-*", "--correlation-id", "roll", "--timeout", "1s")
    assert done.exit_code == 4
    assert done.stdout.splitlines()[-1] == "the record: writ audit search --correlation-id roll"
    refused = await command(*RESTART, "--retry", "roll")
    assert "no target of run roll needs to be tried again" in refused.stderr


async def test_without_waiting_an_accepted_request_is_enough(command: Command, served: ScriptedApi) -> None:
    served.outcome = None
    done = await command(*RESTART, "-t", "web-*", "--no-wait")
    assert (done.exit_code, "2 targets: 2 pending" in done.stdout) == (0, True)
    served.script.append(Failure(code="full", message="the journal is full"))
    assert (await command(*RESTART, "-t", "web-*", "--no-wait")).exit_code == 6


async def test_programs_get_a_json_line_for_each_target_and_one_for_the_run(
    command: Command, served: ScriptedApi
) -> None:
    served.outcomes = {"db-1": "failed"}
    done = await command(*RESTART, "-t", "*", "--serial", "1", "--max-failures", "1", "-o", "json")
    *targets, last = map(json.loads, done.stdout.splitlines())
    assert [(one["target"], one["outcome"]) for one in targets] == [
        ("db-1", "failed"),
        ("web-1", "skipped"),
        ("web-2", "skipped"),
    ]
    assert last == {"run": last["run"], "targets": 3, "counts": {"skipped": 2, "failed": 1}}


async def test_programs_get_a_yaml_document_for_each_target_and_one_for_the_run(
    command: Command, served: ScriptedApi
) -> None:
    served.outcomes = {"db-1": "failed"}
    done = await command(*RESTART, "-t", "*", "-o", "yaml")
    *targets, last = yaml.safe_load_all(done.stdout)
    assert sorted(one["outcome"] for one in targets) == ["failed", "succeeded", "succeeded"]
    assert last["targets"] == 3
    assert done.stdout.startswith("---\n")


async def test_only_shows_the_named_outcomes(command: Command, served: ScriptedApi) -> None:
    served.outcomes = {"web-1": "failed"}
    done = await command(*RESTART, "-t", "*", "--only", "failed", "-o", "json")
    assert [json.loads(line).get("target") for line in done.stdout.splitlines()] == ["web-1", None]


async def test_a_retry_acts_on_what_did_not_succeed_under_the_same_run(command: Command, served: ScriptedApi) -> None:
    served.outcomes = {"web-1": "failed", "db-1": "unknown"}
    await command(*RESTART, "-t", "*", "--correlation-id", "roll")
    served.requests.clear()
    served.outcomes = {}
    done = await command(*RESTART, "--retry", "rol")
    assert done.exit_code == 0
    assert acted_on(served) == ["web-1"]
    assert served.requests[0][1].correlation_id == "roll"
    served.requests.clear()
    assert (await command(*RESTART, "--retry", "roll", "--only", "unknown")).exit_code == 0
    assert acted_on(served) == ["db-1"]
    over = await command(*RESTART, "--retry", "roll")
    assert (over.exit_code, "no target of run roll needs" in over.stderr) == (2, True)


async def test_a_retry_under_the_key_of_the_run_is_refused(command: Command, served: ScriptedApi) -> None:
    """The same key is the same operation: it would show the former failure again, and do nothing."""
    served.outcomes = {"web-1": "failed"}
    await command(*RESTART, "-t", "web-*", "--correlation-id", "roll", "--idempotency-key", "k")
    served.requests.clear()
    refused = await command(*RESTART, "--retry", "roll", "--idempotency-key", "k")
    assert (refused.exit_code, served.requests) == (2, [])
    assert "--idempotency-key names operations of this run" in refused.stderr
    served.outcomes = {}
    assert (await command(*RESTART, "--retry", "roll", "--idempotency-key", "l")).exit_code == 0
    assert acted_on(served) == ["web-1"]


async def test_a_preview_of_a_retry_leaves_its_targets_to_the_retry(command: Command, served: ScriptedApi) -> None:
    served.outcomes = {"web-1": "failed"}
    await command(*RESTART, "-t", "web-*", "--correlation-id", "roll")
    served.outcomes = {"web-1": "previewed"}
    assert (await command(*RESTART, "--retry", "roll", "--dry-run")).exit_code == 0
    served.requests.clear()
    served.outcomes = {}
    assert (await command(*RESTART, "--retry", "roll")).exit_code == 0
    assert acted_on(served) == ["web-1"]


async def test_a_dry_run_is_not_retried_as_a_run(command: Command, served: ScriptedApi) -> None:
    served.outcome = "previewed"
    await command(*RESTART, "-t", "web-*", "--correlation-id", "roll", "--dry-run")
    refused = await command(*RESTART, "--retry", "roll")
    assert (refused.exit_code, "run roll was a dry run: leave out --retry" in refused.stderr) == (2, True)


async def test_a_target_whose_request_was_an_error_is_retried_by_that_name(
    command: Command, served: ScriptedApi
) -> None:
    served.script.append(Failure(code="full", message="the journal is full"))
    await command(*RESTART, "-t", "web-*", "--serial", "1", "--correlation-id", "roll")
    served.requests.clear()
    done = await command(*RESTART, "-t", "web-*", "--retry", "roll", "--only", "error")
    assert (done.exit_code, acted_on(served)) == (0, ["web-1"])


@pytest.mark.parametrize("words", [("-t", "web-1"), ("-t", "web-1*"), ("--tag", "eu", "--yes")])
@pytest.mark.parametrize(("code", "status"), [("not_stored", 6), ("rate_limited_by_a_newer_one", 1)])
async def test_a_request_without_a_record_has_the_status_of_its_error_however_its_target_was_chosen(
    command: Command, served: ScriptedApi, words: tuple[str, ...], code: str, status: int
) -> None:
    served.script.append(Failure(code=code, message="NATS stores nothing"))
    done = await command(*RESTART, *words)
    assert (done.exit_code, "NATS stores nothing" in done.output) == (status, True)


async def test_a_rolling_run_ends_at_a_target_that_goes_on_after_its_timeout(
    command: Command, served: ScriptedApi
) -> None:
    served.outcome = None
    done = await command(*RESTART, "-t", "*", "--serial", "1", "--timeout", "1s", "--correlation-id", "roll")
    assert (done.exit_code, acted_on(served)) == (4, ["db-1"])
    assert "still running: 1 operation (`writ op list`); nothing was started on 2 targets" in done.stderr
    assert done.stdout.splitlines()[-3:-1] == ["  pending: db-1", "  skipped: web-1, web-2"]
    assert "--retry roll" in done.stdout


async def test_two_hundred_targets_take_one_process(command: Command, served: ScriptedApi) -> None:
    served.targets = [view(f"node-{number:03}") for number in range(200)]
    done = await command(*RESTART, "-t", "node-*")
    assert done.exit_code == 0
    assert len(served.requests) == 200
    assert "200 targets: 200 succeeded" in done.stdout


async def test_programs_get_the_whole_output_of_each_target(command: Command, served: ScriptedApi) -> None:
    """The record has a digest in place of an output that is sensitive; the requester gets the output."""
    await command(*RESTART, "-t", "web-*", "--idempotency-key", "k")
    for number in served.lives:
        served.results[number] = {"content": f"of {number}"}
    done = await command(*RESTART, "-t", "web-*", "--idempotency-key", "k", "-o", "json")
    *targets, _ = map(json.loads, done.stdout.splitlines())
    assert [one["output"] for one in targets] == [{"content": f"of {one['operation_id']}"} for one in targets]


@pytest.mark.parametrize(("words", "asked"), [((), 0), (("-o", "json"), 2), (("--dry-run",), 2)])
async def test_a_run_asks_for_the_outputs_that_it_shows(
    command: Command, served: ScriptedApi, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], asked: int
) -> None:
    numbers: list[str] = []

    async def result(_: Queries, number: str) -> None:
        numbers.append(number)

    monkeypatch.setattr(Queries, "result", result)
    served.outcome = "previewed" if "--dry-run" in words else "succeeded"
    assert (await command(*RESTART, "-t", "web-*", *words)).exit_code == 0
    assert len(numbers) == asked


async def test_a_preview_of_many_shows_what_would_change_on_each(command: Command, served: ScriptedApi) -> None:
    served.outcome = "previewed"
    words = (*RESTART, "-t", "web-*", "--dry-run", "--idempotency-key", "k")
    await command(*words)
    first, second = served.lives
    served.results[first] = {"would": "restart nginx"}
    served.results[second] = {"diff": "--- old\n+++ new\n" + "+ line\n" * 30}
    done = await command(*words)
    assert "    would: restart nginx\n" in done.stdout
    assert done.stdout.count("+ line\n") == 18
    assert f"    12 more lines: writ op show {second}\n" in done.stdout
