"""`writ policy` against a running installation: questions, publication and rollback, by command and client."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.shell_completion import BashComplete, ZshComplete
from click.testing import CliRunner, Result

from writ_cli.main import cli
from writ_cli.policy import versions
from writ_client.client import Writ
from writ_contracts.errors import Denied, TimedOut
from writ_contracts.history.audit import SecurityFilter
from writ_contracts.policy.questions import PolicyProblem
from writ_installation.files.create import default_policy
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
CONTROLS: dict[str, Any] = {
    "name": "controls",
    "operations": ["policy_publish", "policy_rollback", "stop_set", "stop_lift", "journal_archive", "audit_read"],
    "allowed": True,
    "user_roles": ["admin"],
}
NOBODY = {"name": "nobody", "operations": ["test_noop"], "allowed": False}
CASE = {
    "name": "it runs",
    "callers": ["operator"],
    "targets": ["web-1"],
    "operations": ["test_noop"],
    "decision": "allow",
}
SUITE = {
    "policy": "policy.yaml",
    "inventory": "inventory.yaml",
    "principals": "principals.yaml",
    "now": "2026-11-24T12:00:00Z",
    "cases": [CASE],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    home = prepare(folder, policy=open_policy(CONTROLS), principals=[("guest", {"roles": []})])
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def command(installation: RunningInstallation, *words: object, principal: str = "operator") -> Result:
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": principal, "NATS_URL": ""})
    return await asyncio.to_thread(runner.invoke, cli, ["policy", *map(str, words)])


async def run_json(installation: RunningInstallation, *words: object, **how: Any) -> Any:
    shown = await command(installation, *words, "-o", "json", **how)
    assert shown.exit_code in (0, 1, 3, 4), shown.output
    return json.loads(shown.stdout)


async def test_decisions_are_reported_as_they_are_made(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    assert (await command(installation, "can-i", "test_noop", "-t", "web-1")).exit_code == 0
    explained = await run_json(installation, "explain", "test_noop", "-t", "web-1")
    simulated = await writ.simulate("test_noop", "web-1")
    assert simulated.verdict is not None
    assert (explained["decision"], explained["rules"]) == (simulated.verdict.decision, simulated.verdict.rules)
    assert (await writ.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
    line = {"id": 1, "principal": "operator", "operation": "test_noop", "target": "web-1"}
    requests = tmp_path / "requests.jsonl"
    requests.write_text(f"{json.dumps(line)}\n\nnonsense\n{json.dumps({**line, 'id': 2})}")
    lines = await command(installation, "eval", "--requests", requests)
    assert [json.loads(one)["decision"] for one in lines.stdout.splitlines()] == ["allow", "invalid", "allow"]
    assert [one["decision"] for one in await run_json(installation, "matrix", "test_noop", "-t", "web-*")] == ["allow"]


async def test_a_misspelt_operation_is_named_with_the_nearest(installation: RunningInstallation) -> None:
    refused = await command(installation, "allowed", "service_restrat")
    assert refused.exit_code == 2
    assert "no operation 'service_restrat' in the catalogue; did you mean 'service_restart'?" in refused.stderr


@pytest.mark.parametrize("words", [("explain", "test_noop", "-t", "web-1"), ("allowed",)])
async def test_a_misspelt_principal_is_named_with_the_nearest(
    installation: RunningInstallation, words: tuple[str, ...]
) -> None:
    refused = await command(installation, *words, "--principal", "oprator")
    expected = "writ: no principal 'oprator'; did you mean 'operator'?\n"
    assert refused.exit_code == 2, "a name in a query is a mistake of usage, and no lack of access"
    assert refused.stderr == expected


async def test_search_for_a_misspelt_operation_suggests_one_of_the_catalogue(installation: RunningInstallation) -> None:
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "operator", "NATS_URL": ""})
    shown = await asyncio.to_thread(runner.invoke, cli, ["audit", "search", "--operation", "service_restrat"])
    assert shown.exit_code == 0
    expected = "writ: nothing on record has operation 'service_restrat'; did you mean 'service_restart'?\n"
    assert shown.stderr == expected


async def test_a_recorded_request_is_explained_by_its_id_or_the_beginning_of_it(
    installation: RunningInstallation, writ: Writ
) -> None:
    done = await writ.run("test_noop", "web-1", dry_run=True, timeout=20)
    explained = await run_json(installation, "explain", done.operation_id[:12])
    assert explained["decision"] == "allow"
    assert (explained["operation"], explained["target"], explained["dry_run"]) == ("test_noop", "web-1", True)
    assert (await command(installation, "explain", done.operation_id, "--principal", "guest")).exit_code == 2
    assert "not_found" in (await command(installation, "explain", "a" * 26, "-o", "json")).output


async def test_a_misspelt_principal_in_a_parameter_is_no_security_event(writ: Writ) -> None:
    stop = await writ.stop_set(["*"], reason="x", principals=["oprator"])
    assert (stop.outcome, stop.code) == ("invalid", "no_principal")
    assert (await writ.security_events(SecurityFilter())).events == []


async def test_shell_completes_ids_of_the_record_and_of_stops(
    installation: RunningInstallation, writ: Writ, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WRIT_HOME", str(installation.home.root))
    monkeypatch.setenv("WRIT_PRINCIPAL", "operator")
    done = await writ.run("test_noop", "web-1", dry_run=True, timeout=20)
    stop = await writ.stop_set(["none-*"], reason="only to be listed")

    async def completed(*words: str, last: str) -> list[str]:
        shell = BashComplete(cli, {}, "writ", "_WRIT_COMPLETE")
        return [one.value for one in await asyncio.to_thread(shell.get_completions, list(words), last)]

    try:
        for words in (("trace",), ("op", "show")):
            assert await completed(*words, last=done.operation_id[:12]) == [done.operation_id]
        assert await completed("stop", "lift", last="") == [stop.output["id"]]
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert (await asyncio.to_thread(CliRunner().invoke, cli, ["context", "save", "ours"])).exit_code == 0
        assert await completed("stop", "lift", "--context", "ours", last="") == [stop.output["id"]]
    finally:
        await writ.stop_lift(stop.output["id"])
    assert await completed("stop", "lift", last="") == []


async def test_shell_gets_the_reason_of_a_stop_in_one_line_without_control_characters(
    installation: RunningInstallation, writ: Writ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zsh reads type, value and description of each name from three lines."""
    monkeypatch.setenv("WRIT_HOME", str(installation.home.root))
    monkeypatch.setenv("WRIT_PRINCIPAL", "operator")
    stop = await writ.stop_set(["none-*"], reason="x\nplain\n--yes\n\x1b[2J")
    shell = ZshComplete(cli, {}, "writ", "_WRIT_COMPLETE")
    try:
        found = await asyncio.to_thread(shell.get_completions, ["stop", "lift"], "")
        described = "x?plain?--yes??[2J".replace("?", "\N{REPLACEMENT CHARACTER}")
        assert [shell.format_completion(one) for one in found] == [f"plain\n{stop.output['id']}\n{described}"]
    finally:
        await writ.stop_lift(stop.output["id"])


async def test_recorded_request_with_hidden_values_is_explained_with_those_that_are_given(
    installation: RunningInstallation, writ: Writ
) -> None:
    sent = {"file_path": "/srv/x", "content": "x"}
    number = str((await writ.submit("file_write", "web-1", sent, dry_run=True)).operation_id)
    refused = await command(installation, "explain", number)
    assert refused.exit_code == 2
    assert "file_write needs content; the record does not have content: add content=VALUE" in refused.stderr
    for words, why in (
        (("file_path=/y",), "the record has file_path: leave it out"),
        (("mode=0600",), "it had no mode"),
    ):
        refused = await command(installation, "explain", number, *words)
        assert refused.exit_code == 2
        assert why in refused.stderr
    explained = await run_json(installation, "explain", number, "content=x")
    assert (explained["decision"], explained["parameters"]["file_path"]) == ("allow", "/srv/x")


async def test_recorded_request_on_a_renamed_target_is_explained_by_its_present_name(
    installation: RunningInstallation, writ: Writ
) -> None:
    gone = await writ.submit("test_noop", "web-0", {})
    refused = await command(installation, "explain", str(gone.operation_id))
    assert refused.exit_code == 2
    assert "the record has target 'web-0', which is not in the inventory now" in refused.stderr
    explained = await run_json(installation, "explain", gone.operation_id, "--target", "web-1")
    assert (explained["decision"], explained["target"]) == ("allow", "web-1")


async def test_answers_about_access_are_limited_to_the_readers_own(installation: RunningInstallation) -> None:
    able = await run_json(installation, "who-can", "policy_publish")
    assert [one["principals"] for one in able["accesses"]] == [["operator"]]
    assert (await run_json(installation, "allowed", "policy_publish", principal="guest"))["accesses"] == []
    own = await command(installation, "allowed", "--target", "web-1", "-o", "json", principal="guest")
    assert own.exit_code == 0
    assert {who for one in json.loads(own.stdout)["accesses"] for who in one["principals"]} <= {"guest"}
    assert "of guest alone" in own.stderr
    assert (await command(installation, "allowed", "--all", principal="guest")).exit_code == 3
    refused = await command(installation, "who-can", "test_noop", principal="guest")
    assert refused.exit_code == 3
    with pytest.raises(Denied):
        async with await installation.client("guest") as guest:
            await guest.policy.who_can("test_noop")


async def test_a_policy_is_checked_tried_published_and_rolled_back(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    policy, suite = tmp_path / "new.yaml", tmp_path / "new_test.yaml"
    policy.write_text(open_policy(CONTROLS, NOBODY))
    suite.write_text(json.dumps(SUITE))
    assert (await run_json(installation, "validate", policy, "--running"))[0]["valid"]
    assert (await run_json(installation, "test", suite, "--running"))["suites"][0]["failed"] == 0
    tried = await run_json(installation, "test", suite, "--running", "--policy", policy)
    assert tried["suites"][0]["failures"][0]["wrong"] == ["decision: expected allow, got deny"]
    changes = (await run_json(installation, "diff", policy))["changes"]
    assert {(one["kind"], one["operation"]) for one in changes} == {("newly_denied", "test_noop")}

    published = await command(installation, "publish", policy, "--reason", "for nobody")
    assert published.exit_code == 0, published.output
    assert "version 2 is in force" in published.stdout
    assert installation.home.policy.read_text() == policy.read_text()
    assert (await command(installation, "can-i", "test_noop", "-t", "web-1")).exit_code == 3
    assert (await run_json(installation, "status"))["version"]["number"] == 2
    assert "for nobody" in (await command(installation, "history")).stdout
    assert (await command(installation, "show", 2)).stdout == policy.read_text()
    stale = await command(installation, "publish", policy, "--reason", "late", "--replaces", 1)
    assert stale.exit_code == 2
    back = await command(installation, "rollback", 1, "--reason", "for everybody")
    assert back.exit_code == 0, back.output
    assert "nobody" not in installation.home.policy.read_text()
    assert (await command(installation, "can-i", "test_noop", "-t", "web-1")).exit_code == 0
    assert (await run_json(installation, "diff", 1, 3))["changes"] == []


async def test_policy_is_published_also_where_its_warnings_cannot_be_compared(
    installation: RunningInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> list[PolicyProblem]:
        raise TimedOut("policy did not reply within 20 s")

    monkeypatch.setattr(versions, "added_warnings", busy)
    policy = tmp_path / "new.yaml"
    policy.write_text(open_policy(CONTROLS, NOBODY))
    published = await command(installation, "publish", policy, "--reason", "urgent")
    assert published.exit_code == 0, published.output
    assert "is in force" in published.stdout
    assert "the warnings that it adds are not known: policy did not reply within 20 s" in published.stderr
    assert (await command(installation, "rollback", 1, "--reason", "for everybody")).exit_code == 0


async def test_a_document_that_does_not_load_is_reported_with_every_place(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("policies:\n  name: bad\n  global_policies:\n  - {name: a, operations: [test_noop], alowed: true}\n")
    refused = await command(installation, "publish", bad, "--reason", "bad")
    assert refused.exit_code == 2
    assert f"{bad}:4:40: error: unknown key 'alowed'; did you mean 'allowed'?" in refused.stdout
    assert "is not published" in refused.stderr
    for_programs = await command(installation, "publish", bad, "--reason", "bad", "-o", "json")
    error = json.loads(for_programs.stdout)["error"]
    assert (4, 40) in [(one["line"], one["column"]) for one in error["problems"]]
    checked = await command(installation, "validate", bad, "--running")
    assert checked.exit_code == 2
    assert f"{bad}:4:40: error: unknown key 'alowed'" in checked.stdout
    compared = await command(installation, "diff", bad)
    assert compared.exit_code == 2
    assert f"{bad}:4:40" in compared.stdout


MISTAKEN: dict[str, str] = {
    "starter": default_policy().decode(),
    "key": "policies:\n  name: a\n  global_policies:\n  - {name: a, operations: [test_noop], alowed: true}\n",
    "names": """policies:
  name: a
  global_policies:
  - {name: a, operations: [service_restart], targets: [nowhere], users: [nobody], allowed: true}
  - {name: b, operations: [service_restart], target_tags: [none-such], user_roles: [no-role], requires_approval: true,
     allowed: true, parameter_constraints: {service_name: {pattern: "nginx.service"}}}
  - {name: a, operations: [no_such_operation], allowed: true}
""",
}


@pytest.mark.parametrize("case", MISTAKEN)
async def test_validate_gives_one_verdict_by_files_and_by_the_running_writ(
    installation: RunningInstallation, tmp_path: Path, case: str
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(MISTAKEN[case])
    home = installation.home
    named = ("--inventory", home.inventory, "--principals", home.principals)
    results = [await command(installation, "validate", file, *words, "-o", "json") for words in (("--running",), named)]
    (running,), (files,) = (json.loads(one.stdout) for one in results)
    assert results[0].exit_code == results[1].exit_code
    assert (running["valid"], running["problems"]) == (files["valid"], files["problems"])
    assert bool(files["problems"]) or case == "starter"


async def test_published_policy_is_in_its_file_although_nobody_reads_the_output(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    policy = tmp_path / "new.yaml"
    policy.write_text(open_policy(CONTROLS, NOBODY))
    reader, writer = os.pipe()
    os.close(reader)
    environ = {**os.environ, "WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "operator", "NATS_URL": ""}
    words = (sys.executable, "-m", "writ_cli", "policy", "publish", policy, "--reason", "unread")
    process = await asyncio.create_subprocess_exec(*words, stdout=writer, env=environ)
    os.close(writer)
    assert await asyncio.wait_for(process.wait(), 30) == 1
    assert installation.home.policy.read_text() == policy.read_text()
    assert (await command(installation, "rollback", 1, "--reason", "for everybody")).exit_code == 0


async def test_publish_keeps_an_edited_policy_file_and_reports_it(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    policy, own = tmp_path / "new.yaml", installation.home.policy
    policy.write_text(open_policy(CONTROLS) + "# published\n")
    edited = own.read_text() + "# edited\n"
    own.write_text(edited)
    published = await command(installation, "publish", policy, "--reason", "another")
    assert published.exit_code == 0, published.output
    assert "has changes that are not in force" in published.stderr
    assert own.read_text() == edited

    async def status_names_it() -> bool:
        shown = await installation.writ("status")
        note = f"the policy file {own} differs from version"
        return shown.status == 0 and note in shown.out and "which operator published, and is not used" in shown.out

    await eventually(status_names_it)
    own.write_text(policy.read_text())
