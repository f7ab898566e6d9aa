"""The command `writ` over a real NATS server with Writ's own permissions, the services scripted."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.client.scripted_executor import DENIED, ScriptedExecutor

from writ_bus.nats_bus import NatsBus
from writ_client import asking, queries
from writ_client.command.main import cli
from writ_contracts import journal
from writ_contracts.ids import operation_id
from writ_contracts.requests import Answer, Failure
from writ_testing.nats_server import WritServer, writ_server
from writ_trust.keys import generate_seed

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    async with writ_server(tmp_path, principals=("alice",), pools=("a",)) as running:
        yield running


@pytest.fixture
async def executor(server: WritServer) -> ScriptedExecutor:
    """All queries go to it: it stands for audit too, in whose account that part of it listens."""
    bus: NatsBus = await server.bus("executor")
    scripted = ScriptedExecutor(bus)
    await scripted.serve(audit=await server.bus("audit"))
    return scripted


@pytest.fixture
def environ(server: WritServer, tmp_path: Path) -> dict[str, str]:
    key_file = tmp_path / "alice.seed"
    key_file.write_bytes(server.keys["alice"].seed)
    key_file.chmod(0o600)
    return {
        "NATS_URL": server.url,
        "WRIT_KEY_FILE": str(key_file),
        "WRIT_PRINCIPAL": "alice",
        "WRIT_HOME": str(tmp_path / "none"),
    }


@pytest.fixture
def writ(executor: ScriptedExecutor, environ: dict[str, str]) -> Command:
    async def call(*words: str, **changed: str) -> Result:
        runner = CliRunner(env={**environ, **changed})
        return await asyncio.to_thread(runner.invoke, cli, words)

    return call


async def test_run_waits_for_the_outcome_and_shows_the_full_output(writ: Command, executor: ScriptedExecutor) -> None:
    number = operation_id("alice", "k1")
    executor.results[number] = {"state": "active", "secret": "line one\nline two"}
    done = await writ("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("succeeded  service_restart on a in ")
    assert f"operation: {number}" in done.stdout
    assert "rules: dev" in done.stdout
    assert "secret: \n      line one\n      line two" in done.stdout
    assert executor.requests[0][1].parameters == {"service_name": "nginx"}


async def test_run_gives_programs_json(writ: Command) -> None:
    done = await writ("run", "service_restart", "-t", "a", "service_name=nginx", "-o", "json", "--reason", "why")
    view = json.loads(done.stdout)
    assert (view["outcome"], view["reason"], view["target"], view["output"]) == (
        "succeeded",
        "why",
        "a",
        {"state": "active"},
    )


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("succeeded", 0),
        ("previewed", 0),
        ("failed", 1),
        ("invalid", 2),
        ("denied", 3),
        ("rejected", 5),
        ("expired", 5),
        ("cancelled", 5),
        ("stale", 5),
        ("unknown", 7),
    ],
)
async def test_the_exit_status_tells_the_outcome(
    writ: Command, executor: ScriptedExecutor, outcome: str, status: int
) -> None:
    executor.outcome = outcome
    done = await writ("run", "service_restart", "-t", "a")
    assert done.exit_code == status
    assert done.stdout.startswith(outcome)


async def test_a_denial_shows_rule_and_reason(writ: Command, executor: ScriptedExecutor) -> None:
    async def deny() -> Answer:
        _, request = executor.requests[-1]
        await executor.accept("alice", "file_delete", request)
        number = operation_id("alice", request.idempotency_key or "")
        return Answer(operation_id=number, state="ended", outcome="denied", verdict=DENIED)

    executor.outcome = "denied"
    executor.script.append(deny)
    done = await writ("run", "file_delete", "-t", "a", "file_path=/x")
    assert done.exit_code == 3
    assert "rules: no" in done.stdout
    assert "reason: rule no denies it" in done.stdout


async def test_no_wait_returns_at_once(writ: Command, executor: ScriptedExecutor) -> None:
    executor.outcome = None
    done = await writ("run", "service_restart", "-t", "a", "--no-wait", "-o", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["state"] == "dispatched"


async def test_waiting_too_long_is_a_line_and_status_4(writ: Command, executor: ScriptedExecutor) -> None:
    executor.outcome = None
    done = await writ("run", "service_restart", "-t", "a", "--timeout", "0.2")
    assert done.exit_code == 4
    assert done.stderr.count("\n") == 1
    assert "still dispatched after 0.2 s" in done.stderr


async def test_a_refusal_is_a_line_with_its_own_status(writ: Command, executor: ScriptedExecutor) -> None:
    for code, status in {
        "unknown_target": 2,
        "conflict": 2,
        "rate_limited": 6,
        "bad_signature": 6,
        "internal": 1,
    }.items():
        executor.script.append(Failure(code=code, message=f"no: {code}"))
        done = await writ("run", "service_restart", "-t", "a")
        assert (done.exit_code, done.stdout, done.stderr) == (status, "", f"writ: no: {code}\n")


async def test_nobody_who_answers_is_status_6(
    server: WritServer, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "QUERY_SECONDS", 0.2)
    done = await asyncio.to_thread(CliRunner(env=environ).invoke, cli, ["targets"])
    assert done.exit_code == 6
    assert done.stderr.count("\n") == 1


async def test_no_server_is_status_6(environ: dict[str, str]) -> None:
    for url in ("nats://127.0.0.1:1", "nats://no.such.host.invalid:4222"):
        done = await asyncio.to_thread(CliRunner(env={**environ, "NATS_URL": url}).invoke, cli, ["targets"])
        assert done.exit_code == 6
        assert done.stderr.startswith("writ: ")
        assert done.stderr.count("\n") == 1


async def test_a_key_that_is_not_known_is_status_6(writ: Command, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.seed"
    stranger.write_bytes(generate_seed())
    stranger.chmod(0o600)
    done = await writ("targets", WRIT_KEY_FILE=str(stranger))
    assert done.exit_code == 6
    assert "does not know the key" in done.stderr


async def test_a_key_that_others_can_read_is_refused(writ: Command, environ: dict[str, str]) -> None:
    Path(environ["WRIT_KEY_FILE"]).chmod(0o644)
    done = await writ("targets")
    assert done.exit_code == 2
    assert "chmod 600" in done.stderr


async def test_somebody_elses_name_is_refused_by_the_server(writ: Command) -> None:
    done = await writ("targets", "--as", "bob")
    assert done.exit_code == 6
    assert done.stderr.count("\n") == 1


async def test_usage_errors_are_a_line_and_status_2(writ: Command) -> None:
    for words, what in (
        (["run", "service_restart"], "--target TARGET is missing"),
        (["run", "service_restart", "-t", "a", "nginx"], "is not key=value"),
        (["run", "service_restart", "-t", "a", "timeout=soon"], "timeout: 'soon' is not an integer"),
        (["run"], "Missing argument"),
        (["frobnicate"], "No such command"),
        (["op", "get", "x"], "is not an operation id"),
        (["audit", "search", "--since", "x"], "is neither a span"),
        (["operations", "nothing"], "no operation 'nothing'"),
    ):
        done = await writ(*words)
        assert done.exit_code == 2, (words, done.stdout, done.stderr)
        assert what in done.stderr
        assert done.stderr.count("\n") == 1


async def test_simulate_tells_verdict_and_rules(writ: Command) -> None:
    allowed = await writ("simulate", "service_restart", "-t", "a", "service_name=nginx")
    assert allowed.exit_code == 0
    assert "decision: allow" in allowed.stdout
    denied = await writ("simulate", "service_restart", "-t", "forbidden")
    assert denied.exit_code == 3
    assert "targets: wanted a, got b" in denied.stdout


async def test_op_shows_lists_watches_and_cancels(writ: Command, executor: ScriptedExecutor) -> None:
    executor.outcome = None
    number = operation_id("alice", "k")
    await writ("run", "service_restart", "-t", "a", "--no-wait", "--idempotency-key", "k")
    listed = await writ("op", "list")
    assert number in listed.stdout
    assert (await writ("op", "get", number)).exit_code == 4
    watching = asyncio.create_task(writ("op", "watch", number))
    await executor.start(number)
    await executor.end(number, "cancelled")
    watched = await watching
    assert watched.exit_code == 5
    assert [line.split()[1] for line in watched.stdout.splitlines()] == [
        "requested",
        "dispatched",
        "started",
        "finished",
    ]
    executor.outcome = "succeeded"
    cancelled = await writ("op", "cancel", number, "--reason", "no more")
    assert cancelled.exit_code == 0
    assert executor.requests[-1][0] == "operation_cancel"
    assert (await writ("op", "list", "-o", "json")).stdout == "[]\n"


async def test_a_trace_reads_as_a_timeline(writ: Command, executor: ScriptedExecutor) -> None:
    number = operation_id("alice", "k")
    await writ("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k")
    executor.security.append(
        journal.SecurityEvent(
            id="s", at=1.0, correlation_id="c1", kind="forged_grant", detail="by \x1b[31mnobody", operation_id=number
        )
    )
    shown = await writ("trace", number)
    assert shown.exit_code == 0
    assert "service_restart on a by alice" in shown.stdout
    for word in ("requested", "dispatched", "started", "finished", "succeeded", "forged_grant", "rule dev allows it"):
        assert word in shown.stdout
    assert "\x1b" not in shown.stdout
    assert {event["kind"] for event in json.loads((await writ("trace", "c1", "-o", "json")).stdout)["events"]} == {
        *("requested", "dispatched", "started", "finished", "security")
    }
    nothing = await writ("trace", "nothing-like-it")
    assert (nothing.exit_code, nothing.stdout) == (2, "")


async def test_search_lists_what_was(writ: Command, executor: ScriptedExecutor) -> None:
    assert (await writ("audit", "search")).stdout == "nothing on record fits\n"
    await writ("run", "service_restart", "-t", "a", "--idempotency-key", "k")
    found = await writ("audit", "search", "--principal", "alice", "--outcome", "succeeded", "--since", "2h")
    assert found.exit_code == 0
    assert operation_id("alice", "k") in found.stdout


async def test_targets_and_context(writ: Command, environ: dict[str, str]) -> None:
    assert "local-a" in (await writ("targets")).stdout
    context = json.loads((await writ("context", "alice", "-o", "json")).stdout)
    assert context["inbox_prefix"] == "_INBOX_alice"
    assert context["subjects"] == {
        "request": "writ.request.alice.<operation>",
        "query": "writ.query.alice.<kind>",
        "events": "writ.event.op.alice.>",
    }
    assert context["key_file"] == environ["WRIT_KEY_FILE"]


async def test_a_context_file_is_all_that_one_needs(writ: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await writ("context", "-o", "json")).stdout)
    done = await writ("targets", "--context", str(file), NATS_URL="", WRIT_KEY_FILE="", WRIT_PRINCIPAL="")
    assert done.exit_code == 0
    file.write_text("{")
    assert (await writ("targets", "--context", str(file))).exit_code == 2


async def test_operations_are_explained(writ: Command) -> None:
    listed = await writ("operations")
    assert "service_restart" in listed.stdout
    one = await writ("operations", "file_write")
    for word in ("file_path", "required", "secret", "change"):
        assert word in one.stdout
    described = json.loads((await writ("operations", "file_write", "-o", "json")).stdout)
    assert described["classes"]["content"] == "secret"
    assert len(json.loads((await writ("operations", "-o", "json")).stdout)) >= 32


async def test_every_subcommand_explains_itself(writ: Command) -> None:
    def below(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = getattr(command, "commands", {})
        return [words, *(path for name, child in inner.items() for path in below(child, (*words, name)))]

    for words in below(cli):
        shown = await writ(*words, "--help")
        assert shown.exit_code == 0
        assert "Usage: " in shown.stdout


async def test_an_answer_that_never_comes_says_how_to_ask_again(
    writ: Command, executor: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ATTEMPT_SECONDS", 0.1)
    monkeypatch.setattr("writ_client.client.SUBMIT_SECONDS", 0.3)

    async def silent() -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError

    executor.script.extend([silent] * 50)
    done = await writ("run", "service_restart", "-t", "a", "--idempotency-key", "mine")
    assert done.exit_code == 4
    assert "--idempotency-key mine" in done.stderr


async def test_a_pipe_gets_no_colours_and_its_early_end_is_no_traceback(
    executor: ScriptedExecutor, environ: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "writ_client", "operations"),
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (0, b"")
    assert b"\x1b" not in out
    shell = "set -o pipefail; python -m writ_client operations -o json | head -c 1"
    cut = await asyncio.create_subprocess_exec(
        *("bash", "-c", shell.replace("python", sys.executable)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(cut.communicate(), 30)
    assert b"Traceback" not in err
