"""`writ` ends with an outcome, an error or a usage mistake: each has its exit status and one readable line."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.commands import Command, timed_out
from tests.client.scripted_api import DENIED, ScriptedApi

from writ_cli.main import cli
from writ_client.queries import operation_queries as queries
from writ_client.queries import service_calls
from writ_contracts.ids import operation_id
from writ_contracts.requests import Failure, RequestReply, TargetView
from writ_testing.peers.nats_server import WritServer
from writ_trust.keys import generate_seed


async def test_run_waits_for_the_outcome_and_shows_the_full_output(command: Command, served: ScriptedApi) -> None:
    number = operation_id("alice", "k1")
    served.results[number] = {"state": "active", "secret": "line one\nline two"}
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("succeeded  service_restart on a in ")
    assert f"operation: {number}" in done.stdout
    assert "rules: dev" in done.stdout
    assert "secret: \n      line one\n      line two" in done.stdout
    assert served.requests[0][1].parameters == {"service_name": "nginx"}


async def test_run_gives_programs_json(command: Command) -> None:
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "-o", "json", "--reason", "why")
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
async def test_the_exit_status_shows_the_outcome(
    command: Command, served: ScriptedApi, outcome: str, status: int
) -> None:
    served.outcome = outcome
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx")
    assert done.exit_code == status
    assert done.stdout.startswith(outcome)


async def test_a_denial_shows_rule_and_reason(command: Command, served: ScriptedApi) -> None:
    async def deny() -> RequestReply:
        _, request = served.requests[-1]
        await served.accept("alice", "file_delete", request)
        number = operation_id("alice", request.idempotency_key or "")
        return RequestReply(operation_id=number, state="ended", outcome="denied", verdict=DENIED)

    served.outcome = "denied"
    served.script.append(deny)
    done = await command("run", "file_delete", "-t", "a", "file_path=/x")
    assert done.exit_code == 3
    assert "rules: no" in done.stdout
    assert "reason: rule no denies it" in done.stdout


async def test_no_wait_returns_at_once(command: Command, served: ScriptedApi) -> None:
    served.outcome = None
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--no-wait", "-o", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["state"] == "dispatched"


async def test_no_wait_shows_why_a_request_is_invalid(command: Command, served: ScriptedApi) -> None:
    failure = Failure(code="stale_statement", message="signed too early")
    reply = RequestReply(operation_id="a" * 26, state="ended", outcome="invalid", error=failure)
    served.script.append(reply)
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--no-wait")
    assert done.exit_code == 2
    assert "stale_statement: signed too early" in done.stdout


async def test_a_cancel_that_is_not_confirmed_is_status_7(command: Command, served: ScriptedApi) -> None:
    served.outcome = "unknown"
    done = await command("op", "cancel", "a" * 26)
    assert (done.exit_code, done.stdout.split()[0]) == (7, "unknown")


async def test_no_wait_refuses_a_timeout(command: Command, served: ScriptedApi) -> None:
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--no-wait", "--timeout", "2s")
    assert done.exit_code == 2
    assert "--timeout" in done.stderr
    assert served.requests == []


async def test_waiting_too_long_is_a_line_and_status_4(command: Command, served: ScriptedApi) -> None:
    served.outcome = None
    done = await timed_out(command, "run", "service_restart", "-t", "a", "service_name=nginx")
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert "still dispatched after " in done.stderr


async def test_a_refusal_is_a_line_with_its_own_status(command: Command, served: ScriptedApi) -> None:
    for code, status in {
        "unknown_target": 2,
        "conflict": 2,
        "rate_limited": 6,
        "bad_signature": 6,
        "internal": 1,
    }.items():
        served.script.append(Failure(code=code, message=f"no: {code}"))
        done = await command("run", "service_restart", "-t", "a", "service_name=nginx")
        assert (done.exit_code, done.stdout, done.stderr) == (status, "", f"writ: no: {code}\n")


async def test_content_above_the_servers_limit_is_status_2(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * 3_000_000)
    done = await command("run", "file_write", "-t", "a", "file_path=/x", f"content=@{file}")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("writ: file_write: content must be a text of 0 to 1398104 characters")


async def test_an_empty_idempotency_key_is_a_mistake_and_no_key_is_made_in_its_place(
    command: Command, served: ScriptedApi
) -> None:
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("writ: --idempotency-key is empty")
    assert served.requests == []


async def test_missing_answer_is_status_6(
    server: WritServer, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "QUERY_SECONDS", 2.0)
    done = await asyncio.to_thread(CliRunner(env=environ).invoke, cli, ["target", "list"])
    assert done.exit_code == 6
    assert done.stderr.count("\n") == 1


async def test_no_server_is_status_6(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writ_cli.context.connecting.CONNECT_SECONDS", 0.5)
    for url in ("nats://127.0.0.1:1", "tls://no.such.host.invalid:4222"):
        done = await asyncio.to_thread(CliRunner(env={**environ, "NATS_URL": url}).invoke, cli, ["target", "list"])
        assert (done.exit_code, done.stderr[:6], done.stderr.count("\n")) == (6, "writ: ", 1), done.stderr


async def test_a_key_that_is_not_known_is_status_6(command: Command, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.seed"
    stranger.write_bytes(generate_seed())
    stranger.chmod(0o600)
    done = await command("target", "list", WRIT_KEY_FILE=str(stranger))
    assert done.exit_code == 6
    assert "does not know the key" in done.stderr


async def test_a_key_that_others_can_read_is_refused(command: Command, environ: dict[str, str]) -> None:
    Path(environ["WRIT_KEY_FILE"]).chmod(0o644)
    done = await command("target", "list")
    assert done.exit_code == 2
    assert "chmod 600" in done.stderr


async def test_foreign_name_is_refused_by_the_server(command: Command) -> None:
    done = await command("target", "list", "--as", "bob")
    assert done.exit_code == 6
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("-o", "json"), ("-ojson",), ("--output", "json"), ("--output=json",)])
async def test_json_is_on_standard_output_in_every_ending(
    command: Command, served: ScriptedApi, words: tuple[str, ...]
) -> None:
    served.outcome = None
    run = ("run", "service_restart", "-t", "a")
    for arguments, code in (
        ((*run, "service_nam=x"), "invalid_parameters"),
        ((*run, "nginx"), "invalid_parameters"),
        ((*run, "--nonsense"), "usage"),
        ((*run, "service_name=x"), "timeout"),
        (("target", "list", "--as", "bob"), "denied"),
    ):
        ended = timed_out(command, *arguments, *words) if code == "timeout" else command(*arguments, *words)
        done = await ended
        report = json.loads(done.stdout)
        assert (report["error"]["code"], done.exit_code == 0) == (code, False)
        if code == "timeout":
            assert report["operation_id"] == operation_id("alice", served.requests[-1][1].idempotency_key or "")
            assert f"`writ op watch {report['operation_id']}`" in report["error"]["message"]


async def test_a_misspelt_target_is_named_with_the_nearest_that_one_may_list(
    command: Command, served: ScriptedApi
) -> None:
    served.targets = [TargetView(id="web-1", role="testing", backend="ssh", pool="ssh", operations=[])]
    done = await command("run", "service_restart", "-t", "wbe-1", "-t", "x*", "service_name=nginx")
    assert done.stderr == "writ: there is no target 'wbe-1' in the inventory; did you mean 'web-1'?\n"


async def test_usage_errors_are_a_line_and_status_2(command: Command) -> None:
    for words, what in (
        (["run", "service_restart"], "--target TARGET is missing"),
        (["run", "service_restart", "-t", "a", "nginx"], "is not key=value"),
        (["run", "service_restart", "-t", "a", "timeout=soon"], "timeout: 'soon' is not a whole number"),
        (["run"], "Missing argument"),
        (["frobnicate"], "No such command"),
        (["op", "show", "x!"], "is neither an operation id"),
        (["trace", "a b"], "it takes 1 to 128 letters"),
        (["audit", "search", "--correlation-id", "a b"], "it takes 1 to 128 letters"),
        (["run", "service_restart", "--retry", "a b", "service_name=x"], "it takes 1 to 128 letters"),
        (["audit", "search", "--since", "x"], "is neither a span"),
        (["audit", "search", "--since", "1h", "--until", "2h"], "--until is before --since"),
        (["audit", "search", "-t", "web-*"], "--target 'web-*': names have letters, digits, - and _, and no globs"),
        (["audit", "search", "--principal", "a b"], "--principal 'a b': names have"),
        (["run", "service_restart", "-t", "a", "service_name=x", "--correlation-id", "a b"], "it takes 1 to 128 lett"),
        (["audit", "search", "--outcome", "fail"], "'unknown'; did you mean 'failed'? (see"),
        (["policy", "who-can", "service_restart", "--role", "prod"], "'maintenance'; did you mean 'production'? (see"),
        (["policy", "who-can", "service_restart", "--role", "xyz"], "'maintenance' (see"),
        (["operations", "nothing"], "no operation 'nothing'"),
        (["run", "service_restrat", "-t", "a"], "no operation 'service_restrat'; did you mean 'service_restart'?"),
        (["run", "service_restart", "-t", "a", "service_nam=x"], "'service_nam'; did you mean 'service_name'?"),
        (["run", "service_restart", "-t", "a"], "service_restart needs service_name"),
        (["login", "--for", "99d"], "--for 99d: a session lasts from 1m to 7d"),
        (["login", "--for", "59s"], "--for 59s: a session lasts from 1m to 7d"),
        (["run", "service_restart", "-t", "a", "service_name=x", "more=1"], "no parameter 'more'; there are service_n"),
    ):
        done = await command(*words)
        assert done.exit_code == 2, (words, done.stdout, done.stderr)
        assert what in done.stderr
        assert done.stderr.count("\n") == 1


async def test_a_reply_that_never_comes_is_reported_with_the_way_to_repeat_the_request(
    command: Command, served: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_calls, "ATTEMPT_SECONDS", 0.1)
    monkeypatch.setattr("writ_client.operations.time_left.SUBMIT_SECONDS", 0.3)

    async def silent() -> RequestReply:
        await asyncio.Event().wait()
        raise AssertionError

    served.script.extend([silent] * 50)
    done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "mine")
    assert done.exit_code == 4
    assert "--idempotency-key mine" in done.stderr


async def test_an_interrupt_leaves_the_operation_and_says_how_to_find_it(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    served.outcome = None
    # in the background it may be ignored, and inherited
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    words = ["run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k"]
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "writ_cli", *words),
            env={**os.environ, **environ},
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    await served.until_queried("operation")
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    number = operation_id("alice", "k")
    assert (process.returncode, err.decode()) == (4, f"writ: operation {number} goes on: `writ op watch {number}`\n")


INTERRUPTED_WHILE_IT_READS = """
import runpy, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "writ_cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupts())
runpy.run_module("writ_cli", run_name="__main__")
"""


async def test_an_interrupt_in_its_first_moment_is_no_traceback() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INTERRUPTED_WHILE_IT_READS), stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (130, b"")


async def test_a_pipe_gets_no_colours_and_its_early_end_is_no_traceback(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "writ_cli", "operations"),
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (0, b"")
    assert b"\x1b" not in out
    shell = "set -o pipefail; python -m writ_cli operations -o json | head -c 1"
    cut = await asyncio.create_subprocess_exec(
        *("bash", "-c", shell.replace("python", sys.executable)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(cut.communicate(), 30)
    assert b"Traceback" not in err


async def test_a_misspelt_operation_leaves_no_record(command: Command, served: ScriptedApi) -> None:
    assert (await command("run", "service_restrat", "-t", "a")).exit_code == 2
    assert (await command("run", "service_restart", "-t", "a", "name=nginx")).exit_code == 2
    assert served.requests == []


async def test_an_operation_that_the_installation_alone_knows_is_sent(command: Command, served: ScriptedApi) -> None:
    served.targets = [TargetView(id="a", role="testing", backend="ssh", pool="ssh", operations=["disk_wipe"])]
    assert (await command("run", "disk_wipe", "-t", "a", "disk=sda")).exit_code == 0
    assert served.requests[0][1].parameters == {"disk": "sda"}


def test_without_a_command_it_shows_help() -> None:
    done = CliRunner().invoke(cli, [])
    assert done.exit_code == 0
    assert "Operations:" in done.stdout
