"""The command `writ` over a real NATS server with Writ's own permissions, the services scripted."""

import asyncio
import json
import re
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_cli.main import cli
from writ_cli.operations.running.progress_line import ProgressLine, event_text
from writ_cli.terminal.output import Screen
from writ_contracts import journal
from writ_contracts.agents import Progress
from writ_contracts.ids import operation_id
from writ_contracts.requests import Request, WaitingReason
from writ_testing.eventually import eventually


async def test_simulate_shows_verdict_and_rules(command: Command) -> None:
    allowed = await command("simulate", "service_restart", "-t", "a", "service_name=nginx")
    assert allowed.exit_code == 0
    assert "decision: allow" in allowed.stdout
    denied = await command("simulate", "service_restart", "-t", "forbidden")
    assert denied.exit_code == 3
    assert "targets: got b, expected a" in denied.stdout  # in the words of `writ policy explain`


async def test_op_show_says_that_a_failed_operation_was_a_dry_run(command: Command, served: ScriptedApi) -> None:
    served.outcome = "failed"
    tried = await served.accept("alice", "service_restart", Request(target="a", idempotency_key="t", dry_run=True))
    done = await served.accept("alice", "service_restart", Request(target="a", idempotency_key="d"))
    shown = [(await command("op", "show", one.operation_id)).stdout for one in (tried, done)]
    assert ["  dry run: yes\n" in one for one in shown] == [True, False], shown


async def test_op_shows_lists_watches_and_cancels(command: Command, served: ScriptedApi) -> None:
    served.outcome = None
    number = operation_id("alice", "k")
    await command("run", "service_restart", "-t", "a", "service_name=nginx", "--no-wait", "--idempotency-key", "k")
    served.waiting = WaitingReason(kind="agent", text="waits for an agent of pool local-a: none is there")
    listed = await command("op", "list")
    assert number in listed.stdout
    assert "an agent of pool local-a: none is there" in listed.stdout
    assert "waiting: waits for an agent" in (await command("op", "show", number)).stdout
    served.waiting = None
    assert (await command("op", "show", number)).exit_code == 4
    watching = asyncio.create_task(command("op", "watch", number))
    await served.start(number)
    await served.end(number, "cancelled")
    watched = await watching
    assert watched.exit_code == 5
    begins, *events = watched.stdout.splitlines()
    assert re.fullmatch(r"  begins: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}", begins)
    assert [line.split()[1] for line in events] == [
        "requested",
        "dispatched",
        "granted",
        "finished",
    ]
    served.outcome = "succeeded"
    cancelled = await command("op", "cancel", number, "--reason", "no more")
    assert cancelled.exit_code == 0
    assert served.requests[-1][0] == "operation_cancel"
    assert (await command("op", "list", "-o", "json")).stdout == "[]\n"


async def test_run_without_a_terminal_reports_a_silent_host_on_standard_error(
    command: Command, served: ScriptedApi
) -> None:
    served.outcome = None
    number = operation_id("alice", "k")
    words = ("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k")
    running = asyncio.create_task(command(*words))

    async def listens() -> bool:
        return served.queries["operation"] > 0

    await eventually(listens)
    await served.progress(number, "systemctl restart nginx")
    for seconds in (3, 5):
        await served.progress(number, f"a has not replied for more than {seconds} s", silent="a")
    await served.end(number, "unknown")
    done = await running
    assert (done.exit_code, done.stderr) == (7, "writ: a has not replied for more than 3 s\n")


async def test_people_who_can_approve_are_named_once_while_a_request_waits(
    command: Command, served: ScriptedApi
) -> None:
    reason = "'ask' demands one of role approver; could approve: bob"
    served.script.append(lambda: served.ask("alice", *served.requests[-1], reason))
    words = ("run", "service_restart", "-t", "a", "service_name=nginx", "--timeout", "2s")
    done = await command(*words, FORCE_COLOR="1", TERM="xterm", COLUMNS="200")
    assert done.exit_code == 4, done
    *progress, _last = done.stderr.splitlines()
    said = [line.removeprefix("\x1b[?25l") for line in progress if "could approve" in line]
    assert said == [f"writ: it waits for an approval: {reason}"]
    assert [line for line in progress if "approval" in line][-1].endswith(" waits for an approval")


def test_progress_keeps_the_time_for_an_approval_after_its_reason_was_reported() -> None:
    reason, until = "'ask' demands one of role approver", datetime(2026, 11, 29, 13, 30).astimezone().timestamp()
    awaiting = journal.AwaitingApproval(
        id="e1", at=1.0, correlation_id="c1", operation_id="k", approvers=["bob"], quorum=1, until=until
    )
    waits = Progress(operation_id="k", principal="alice", message=f"waits for an approval: {reason}")
    other = Progress(operation_id="k", principal="alice", message="half of it is done")
    line = ProgressLine(Screen("table"))
    assert [line.text(one) for one in (awaiting, waits)] == [event_text(awaiting), waits.message]
    line.reported(reason)
    begin = "waiting for approval until "
    assert [line.text(one).removeprefix(begin)[:1] for one in (waits, awaiting, waits)] == ["w", "1", "1"]
    assert line.text(awaiting) == line.text(waits)
    assert "bob" not in line.text(awaiting)
    assert line.text(other) == "half of it is done"


async def test_keyed_digest_is_labelled_once_the_result_is_gone(command: Command, served: ScriptedApi) -> None:
    number, served.recorded = operation_id("alice", "k"), {"digest_after": "keyed"}
    served.results[number] = {"digest_after": "plain"}
    await command("run", "file_write", "-t", "a", "file_path=/a", "content=x", "--no-wait", "--idempotency-key", "k")
    assert "    digest_after: plain\n" in (await command("op", "show", number)).stdout
    del served.results[number]
    again = ("run", "file_write", "-t", "a", "file_path=/a", "content=x", "--idempotency-key", "k")
    for words in (("op", "show", number), again):
        assert "    digest_after (keyed): keyed\n" in (await command(*words)).stdout


async def test_the_beginning_of_an_id_is_enough(command: Command, served: ScriptedApi) -> None:
    keys = [f"k{number}" for number in range(40)]  # more than there are letters: two ids begin alike
    for key in keys:
        await served.accept("alice", "service_restart", Request(target="a", idempotency_key=key))
    ids = sorted(operation_id("alice", key) for key in keys)
    alike = next(one[0] for one, other in pairwise(ids) if one[0] == other[0])
    for words in (["op", "show"], ["trace"], ["op", "watch"]):
        done = await command(*words, ids[0][:8])
        assert done.exit_code == 0, done.stderr
    assert ids[0] in (await command("op", "show", ids[0][:8])).stdout
    whole = json.loads((await command("op", "show", ids[0], "-o", "json")).stdout)["correlation_id"]
    assert ids[0] in (await command("trace", whole[:8])).stdout
    assert ids[0] in (await command("audit", "search", "--correlation-id", whole[:8])).stdout
    for prefix, why in (
        (alike, "several operation ids begin with"),
        ("zz22zz", "no operation id begins with 'zz22zz'"),
    ):
        done = await command("op", "show", prefix)
        assert (done.exit_code, done.stdout) == (2, "")
        assert why in done.stderr
    cancelled = await command("op", "cancel", ids[0][:8])
    assert served.requests[-1][1].parameters == {"operation_id": ids[0]}, cancelled.stderr


async def test_times_for_programs_are_iso_beside_epoch(command: Command, served: ScriptedApi) -> None:
    await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k")
    view = json.loads((await command("op", "show", operation_id("alice", "k"), "-o", "json")).stdout)
    written = datetime.fromisoformat(view["requested_at_iso"])
    assert written.utcoffset() == timedelta()
    assert written.timestamp() == pytest.approx(view["requested_at"], abs=0.01)


async def test_a_trace_reads_as_a_timeline(command: Command, served: ScriptedApi) -> None:
    number = operation_id("alice", "k")
    await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k")
    served.security.append(
        journal.SecurityEvent(
            id="s", at=1.0, correlation_id="c1", kind="forged_grant", detail="by \x1b[31mnobody", operation_id=number
        )
    )
    shown = await command("trace", number)
    assert re.search(r"begins: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}\n", shown.stdout)
    assert shown.exit_code == 0
    assert "service_restart on a by alice" in shown.stdout
    for word in ("requested", "dispatched", "granted", "finished", "succeeded", "forged_grant", "rule dev allows it"):
        assert word in shown.stdout
    assert "\x1b" not in shown.stdout
    for event in json.loads((await command("trace", number, "-o", "json")).stdout)["events"]:
        assert event["kind"] == "security" or event["body_iso"]["at"] == event["at_iso"]
    assert {event["kind"] for event in json.loads((await command("trace", "c1", "-o", "json")).stdout)["events"]} == {
        *("requested", "dispatched", "granted", "finished", "security")
    }
    nothing = await command("trace", "nothing-like-it")
    assert (nothing.exit_code, nothing.stdout) == (2, "")


async def test_security_events_are_listed_without_control_characters(command: Command, served: ScriptedApi) -> None:
    assert (await command("audit", "security")).stdout == "no such event is on record\n"
    served.security.append(
        journal.SecurityEvent(
            id="s",
            at=1_795_000_000.0,
            correlation_id="c1",
            kind="permission_violation",
            detail="NATS refused \x1b[31mbot",
            principal="bot",
        )
    )
    shown = await command("audit", "security", "--principal", "bot", "--kind", "permission_violation", "--since", "1h")
    assert (shown.exit_code, "\x1b" in shown.stdout) == (0, False)
    heading, _, row = shown.stdout.splitlines()
    assert heading.split() == ["sequence", "when", "kind", "who", "detail"]
    assert row.split()[3:7] == ["permission_violation", "bot", "NATS", "refused"]
    [event] = json.loads((await command("audit", "security", "-o", "json")).stdout)["events"]
    assert event["body"]["principal"] == "bot"
    misspelt = await command("audit", "security", "--kind", "permission_violations")
    assert (misspelt.exit_code, "permission_violation" in misspelt.stderr) == (2, True)


async def test_search_lists_what_was(command: Command, served: ScriptedApi) -> None:
    assert (await command("audit", "search")).output == "no operation on record matches\n"
    served.audit_lacks = 7
    assert "audit is 7 events behind the journal" in (await command("audit", "search")).stderr
    served.audit_lacks = 0
    await command("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "k")
    found = await command("audit", "search", "--principal", "alice", "--outcome", "succeeded", "--since", "2h")
    assert found.exit_code == 0
    assert operation_id("alice", "k") in found.stdout


async def test_command_prints_targets_and_the_context(command: Command, environ: dict[str, str]) -> None:
    assert "local-a" in (await command("target", "list")).stdout
    context = json.loads((await command("context", "alice", "-o", "json")).stdout)
    assert context["inbox_prefix"] == "_INBOX_alice"
    assert context["subjects"] == {
        "request": "writ.request.alice.<operation>",
        "query": "writ.query.alice.<kind>",
        "events": "writ.event.op.alice.>",
    }
    assert context["key_file"] == environ["WRIT_KEY_FILE"]


async def test_context_file_suffices_for_a_command(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await command("context", "-o", "json")).stdout)
    done = await command("target", "list", "--context", str(file), NATS_URL="", WRIT_KEY_FILE="", WRIT_PRINCIPAL="")
    assert done.exit_code == 0
    file.write_text("{")
    assert (await command("target", "list", "--context", str(file))).exit_code == 2


async def test_a_context_of_one_principal_is_not_used_for_another(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await command("context", "-o", "json")).stdout)
    done = await command("target", "list", "--context", str(file), "--as", "bob")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is the context of alice, not of bob" in done.stderr
    done = await command("target", "list", "--as", "bob", WRIT_CONTEXT=str(file))
    assert (done.exit_code, done.stdout) == (2, "")


async def test_a_typed_context_wins_over_the_environments_principal(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await command("context", "-o", "json")).stdout)
    assert (await command("target", "list", "--context", str(file), WRIT_PRINCIPAL="bob")).exit_code == 0


async def test_operations_are_explained(command: Command) -> None:
    listed = await command("operations")
    assert "service_restart" in listed.stdout
    one = await command("operations", "file_write")
    for word in ("file_path", "required", "secret", "change"):
        assert word in one.stdout
    service = (await command("operations", "service_restart")).stdout
    assert "a systemd service named without .service" in service
    assert "^(?!" not in service  # words say it, and JSON has the expression
    described = json.loads((await command("operations", "file_write", "-o", "json")).stdout)
    assert described["classes"]["content"] == "secret"
    assert len(json.loads((await command("operations", "-o", "json")).stdout)) >= 32


async def test_operations_are_listed_by_risk_and_backend(command: Command) -> None:
    names = (await command("operations", "--risk", "read", "--backend", "ssh", "-q")).stdout.split()
    assert {"file_read", "service_status", "container_logs"} <= {*names}
    assert {"file_write", "audit_read", "guest_list"}.isdisjoint(names)
    both = (await command("operations", "--risk", "read", "--risk", "admin", "--backend", "writ", "-q")).stdout.split()
    assert {"audit_read", "policy_publish"} <= {*both}
    assert {"stop_set", "file_read"}.isdisjoint(both)
    for words, message in (
        (("--backend", "shh"), "no operation has backend 'shh'; did you mean 'ssh'?"),
        (("file_read", "--risk", "read"), "give the NAME of an operation, or --risk and --backend"),
    ):
        refused = await command("operations", *words)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


async def test_every_subcommand_explains_itself(command: Command) -> None:
    def below(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        if not isinstance(command, click.Group):
            return [words]
        inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return [words, *(path for name, child in inner.items() for path in below(child, (*words, name)))]

    context = click.Context(cli)

    for words in below(cli):
        shown = await command(*words, "--help")
        assert shown.exit_code == 0
        assert "Usage: " in shown.stdout
