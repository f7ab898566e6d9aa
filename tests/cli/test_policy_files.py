"""`writ policy` on files, without a server: input and output."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from writ_cli.main import cli
from writ_cli.policy import matrix
from writ_cli.terminal.output import Screen
from writ_contracts.policy.questions import EvalRequest, EvalResult
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home

POLICIES = Path(__file__).parents[2] / "policies"
PRODUCTION = POLICIES / "production-security-focused.yaml"
LISTS = ("--inventory", POLICIES / "examples/inventory.yaml", "--principals", POLICIES / "examples/principals.yaml")
QUESTION: dict[str, Any] = {
    "id": "1",
    "principal": "alice",
    "operation": "service_restart",
    "target": "prod-web-1",
    "parameters": {"service_name": "nginx"},
    "at": "2026-11-24T06:30:00Z",
}


@pytest.fixture
def bare(tmp_path: Path) -> CliRunner:
    """Return a command without any hint of an installation in the environment."""
    return CliRunner(env={"WRIT_HOME": str(tmp_path / "none"), "NATS_URL": "", "WRIT_PRINCIPAL": ""})


def writ(runner: CliRunner, *words: object, stdin: str | None = None) -> Result:
    return runner.invoke(cli, ["policy", *map(str, words)], input=stdin)


def test_a_good_policy_is_valid_and_so_is_its_suite(bare: CliRunner) -> None:
    shown = writ(bare, "validate", PRODUCTION, PRODUCTION.with_name("production-security-focused_test.yaml"))
    assert shown.exit_code == 0, shown.output
    assert "valid, policy 'production-security-focused' with 29 rules" in shown.stdout


def test_validation_compares_names_with_the_lists_of_the_installation_by_default(tmp_path: Path) -> None:
    home = Home(tmp_path / ".writ")
    create_installation(home)
    runner = CliRunner(env={"WRIT_HOME": str(home.root), "NATS_URL": "", "WRIT_PRINCIPAL": ""})
    lists = ("--inventory", home.inventory, "--principals", home.principals)
    named = writ(runner, "validate", PRODUCTION, *lists)
    shown = writ(runner, "validate", PRODUCTION)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "warning: " in shown.stdout
    assert shown.stdout == named.stdout
    home.inventory.write_text("targets: [\n")
    shown = writ(runner, "validate", PRODUCTION)
    assert (shown.exit_code, f"names are not compared with {home.inventory}" in shown.stderr) == (0, True)


def test_choices_of_a_missing_option_are_in_one_line(bare: CliRunner) -> None:
    refused = writ(bare, "init")
    assert refused.exit_code == 2
    assert "Choose from: homelab, production, ci-runner, ai-assistant, change-freeze (see" in refused.stderr


def test_every_mistake_is_shown_with_its_place_line_and_nearest_key(bare: CliRunner, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    rules = "  - {name: a, operations: [service_restrat], alowed: true}\n  - {name: b, operations: [], allowed: true}\n"
    bad.write_text(f"policies:\n  name: bad\n  global_policies:\n{rules}")
    shown = writ(bare, "validate", bad)
    assert shown.exit_code == 2
    assert f"{bad}:4:46: error: unknown key 'alowed'; did you mean 'allowed'?" in shown.stdout
    assert "    4 |   - {name: a," in shown.stdout
    bad.write_text(bad.read_text().replace("alowed", "allowed"))
    report = json.loads(writ(bare, "validate", bad, "-o", "json").stdout)
    assert [(one["severity"], one["line"]) for one in report[0]["problems"]] == [("lint", 4), ("lint", 5)]
    assert report[0]["valid"] is False
    permissive = writ(bare, "validate", bad, "--mode", "permissive")
    assert permissive.exit_code == 0
    assert "2 mistakes" in permissive.stdout
    assert writ(bare, "validate", tmp_path / "absent.yaml").exit_code == 2


def test_lines_are_decided_without_a_server(bare: CliRunner) -> None:
    requests = "\n".join([json.dumps(QUESTION), "", "nonsense", json.dumps({**QUESTION, "id": 2, "target": "nowhere"})])
    shown = writ(bare, "eval", "--policy", PRODUCTION, *LISTS, "--requests", "-", stdin=requests)
    assert shown.exit_code == 0, shown.output
    first, second, third = map(json.loads, shown.stdout.splitlines())
    assert (first["id"], first["decision"]) == ("1", "allow")
    assert first["rules"] == ["gateway-restarts-are-short", "production-restarts"]
    assert (second["id"], second["decision"]) == (None, "invalid")
    assert (third["id"], third["decision"]) == (2, "invalid")


def test_a_line_that_has_no_end_is_answered_and_dropped(bare: CliRunner) -> None:
    requests = f"{json.dumps(QUESTION)}\n{'x' * 5_000_000}\n{json.dumps(QUESTION)}"
    shown = writ(bare, "eval", "--policy", PRODUCTION, *LISTS, stdin=requests)
    assert [json.loads(line)["decision"] for line in shown.stdout.splitlines()] == ["allow", "invalid", "allow"]


def test_a_suite_is_run_and_what_failed_is_reported(bare: CliRunner, tmp_path: Path) -> None:
    passed = writ(bare, "test", PRODUCTION, "--coverage")
    assert passed.exit_code == 0, passed.output
    assert "cases, passed" in passed.stdout
    suite = PRODUCTION.with_name("production-security-focused_test.yaml").read_text()
    wrong = tmp_path / "wrong_test.yaml"
    for name in (PRODUCTION.name, "examples/inventory.yaml", "examples/principals.yaml"):
        suite = suite.replace(f": {name}", f": {POLICIES / name}")
    wrong.write_text(suite.replace("decision: allow\n    rules: [audit]", "decision: deny\n    rules: [audit]"))
    report = tmp_path / "report.xml"
    failed = writ(bare, "test", tmp_path, "--junit", report)
    assert failed.exit_code == 1
    assert "decision: expected deny, got allow" in failed.stdout
    assert 'failures="1"' in report.read_text()
    results = json.loads(writ(bare, "test", wrong, "-o", "json").stdout)
    assert results["suites"][0]["failed"] == 1
    assert results["suites"][0]["failures"][0]["wrong"] == ["decision: expected deny, got allow"]
    assert {rule["rule"] for rule in results["coverage"][0]["rules"]} >= {"audit", "approve"}


def test_another_policy_may_be_put_to_a_suite(bare: CliRunner, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(PRODUCTION.read_text().replace("duties", "duty"))
    assert writ(bare, "test", PRODUCTION, "--policy", candidate).exit_code == 0
    candidate.write_text(PRODUCTION.read_text().replace("- name: audit\n", "- name: auditing\n"))
    shown = writ(bare, "test", PRODUCTION, "--policy", candidate)
    assert shown.exit_code == 2
    assert "there is no enabled rule 'audit'" in shown.stderr


def test_a_folder_without_suites_is_a_mistake(bare: CliRunner, tmp_path: Path) -> None:
    assert writ(bare, "test", tmp_path).exit_code == 2


RESTART = ("service_restart", "service_name=nginx")
NOON, MORNING = ("--at", "2026-11-24T11:00:00Z"), ("--at", "2026-11-24T06:30:00Z")
FILES = ("--policy", PRODUCTION, *LISTS)


def test_a_denial_is_explained_with_what_failed_and_when_it_would_pass(bare: CliRunner) -> None:
    arguments = (*RESTART, "-t", "prod-web-1", "--principal", "alice", *FILES)
    shown = writ(bare, "explain", *arguments, *NOON)
    assert shown.exit_code == 3
    for words in (
        "deny  service_restart on prod-web-1 by alice",
        "nearest is 'production-restarts': time_restrictions is Tue 2026-11-24 12:00 Europe/Berlin",
        "opens Tue 2026-11-24 22:00 Europe/Berlin",
        "Mon-Thu 06:00-08:00 Europe/Berlin",
        "no       user_roles: got operator, developer, expected sre",
    ):
        assert words in shown.stdout
    assert writ(bare, "explain", *arguments, *MORNING).exit_code == 0
    explanation = json.loads(writ(bare, "explain", *arguments, *NOON, "-o", "json").stdout)
    assert (explanation["decision"], explanation["code"], explanation["rules"]) == ("deny", "no_rule", [])
    failed = {entry["rule"]: (entry["clause"], entry["wanted"], entry["got"]) for entry in explanation["trace"]}
    assert failed["production-restarts-by-sre"] == ("user_roles", "sre", "operator, developer")


def test_an_approval_is_explained_with_who_could_give_it(bare: CliRunner) -> None:
    arguments = (*RESTART, "-t", "prod-db-1", "--principal", "bob", *FILES, *NOON)
    shown = writ(bare, "explain", *arguments)
    assert shown.exit_code == 4
    assert "approval needed  service_restart on prod-db-1 by bob" in shown.stdout
    assert "1 of role lead or approver within 30 min 0 s, for 'production-restarts-by-sre'; could approve: carol" in (
        shown.stdout
    )
    explanation = json.loads(writ(bare, "explain", *arguments, "-o", "json").stdout)
    assert explanation["approvals"][0]["steps"] == [
        {"approvers": ["lead", "approver"], "quorum": 1, "able": ["carol", "grace"]}
    ]
    assert writ(bare, "explain", *arguments, "--approved-by", "carol").stdout.startswith("allow")


def test_malformed_question_is_refused(bare: CliRunner) -> None:
    refused = writ(bare, "explain", *RESTART, "-t", "nowhere", "--principal", "alice", *FILES)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no target 'nowhere'" in refused.stderr
    assert writ(bare, "explain", *RESTART, "-t", "prod-web-1", *FILES).exit_code == 2
    lists_alone = writ(bare, "explain", *RESTART, "-t", "prod-web-1", *LISTS)
    assert lists_alone.exit_code == 2
    assert "--policy" in lists_alone.stderr


def test_without_files_and_without_a_running_writ_it_says_what_to_do(bare: CliRunner) -> None:
    refused = writ(bare, "can-i", *RESTART, "-t", "prod-web-1")
    assert refused.exit_code == 2
    assert "or judge by files: --policy FILE" in refused.stderr
    away = bare.invoke(cli, ["policy", "can-i", *RESTART, "-t", "prod-web-1", "--as", "alice"])
    assert away.exit_code == 2
    assert "--policy FILE" in away.stderr


def test_can_i_has_an_exit_status_for_each_answer(bare: CliRunner) -> None:
    stop = ("can-i", "stop_set", "reason=fire", *FILES)
    assert writ(bare, *stop, "--as", "alice").exit_code == 0
    assert writ(bare, "can-i", "stop_lift", "stop_id=one", *FILES, "--as", "copilot").exit_code == 3
    lift = ("can-i", "stop_lift", "stop_id=one", *FILES, "--as", "carol")
    answer = writ(bare, *lift)
    assert answer.exit_code == 4
    assert answer.stdout.startswith("approval needed: ")
    assert json.loads(writ(bare, *lift, "-o", "json").stdout)["decision"] == "require_approval"


def test_who_can_lists_principals_for_any_and_for_exact_parameters(bare: CliRunner) -> None:
    at_all = writ(bare, "who-can", "service_restart", "-t", "prod-web-1", *FILES, "-o", "json")
    assert {one["principals"][0]: one["allowed"] for one in json.loads(at_all.stdout)["accesses"]} == {
        "alice": "sometimes",
        "bob": "always",
        "carol": "sometimes",  # in an emergency
    }
    exactly = writ(bare, "who-can", *RESTART, "-t", "prod-web-1", *FILES, *NOON, "-o", "json")
    assert [one["principals"] for one in json.loads(exactly.stdout)["accesses"]] == [["bob"]]
    shown = writ(bare, "who-can", "service_restart", "-t", "prod-web-1", *FILES).stdout
    assert re.search(r"carol, grace +in an emergency ", shown)
    everywhere = writ(bare, "who-can", *RESTART, *FILES, *NOON)
    assert (everywhere.exit_code, "prod-web-1" in everywhere.stdout, "bob" in everywhere.stdout) == (0, True, True)
    assert writ(bare, "who-can", "stop_set", "reason=fire", *FILES).exit_code == 0
    nobody = writ(bare, "who-can", "package_remove", "-t", "prod-web-1", *FILES)
    assert nobody.exit_code == 3
    assert nobody.stdout == "nobody may request it\n"


def test_allowed_lists_operations_by_principal_target_and_role(bare: CliRunner) -> None:
    shown = writ(bare, "allowed", "--principal", "copilot", *FILES)
    assert shown.exit_code == 0
    assert "service_restart, container_restart" in shown.stdout
    assert "Mon-Fri 09:00-17:00 Europe/Berlin" in shown.stdout
    on_staging = writ(bare, "allowed", "--all", "--role", "staging", "service_stop", *FILES, "-o", "json")
    accesses = json.loads(on_staging.stdout)["accesses"]
    assert {who for access in accesses for who in access["principals"]} == {
        "alice",
        "bob",
        "carol",
        "grace",
        "pipeline",
    }
    assert accesses[0]["targets"] == ["staging-web-1"]
    assert accesses[0]["example_allowed"]["operation"] == "service_stop"


def test_many_combinations_are_decided_at_once(bare: CliRunner) -> None:
    who = ("--principal", "alice", "--principal", "bob")
    shown = writ(bare, "matrix", *RESTART, "-t", "prod-*", *who, *NOON, *MORNING, *FILES, "-o", "json")
    assert shown.exit_code == 0
    decisions = json.loads(shown.stdout)
    assert len(decisions) == 8
    assert {(one["principal"], one["decision"]) for one in decisions} == {
        ("alice", "allow"),
        ("alice", "deny"),
        ("bob", "require_approval"),
    }
    denied = writ(bare, "matrix", *RESTART, "-t", "prod-*", "--principal", "dora", *FILES)
    assert denied.exit_code == 3
    assert re.search(r"dora +prod-db-1, prod-web-1 +deny ", denied.stdout)
    assert writ(bare, "matrix", *RESTART, "-t", "nope*", "--principal", "dora", *FILES).exit_code == 2


def test_decisions_at_several_instants_are_told_apart_at_80_columns() -> None:
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=80, force_terminal=False)
    nobody = (
        "no rule allows it; nearest is 'contractors-restart-web-staging': time_restrictions is Sat 2026-11-28 11:00"
    )
    given: list[tuple[str, str, str]] = [
        ("2026-11-27T10:00:00Z", "allow", "rule 'contractors-restart-web-staging' allows it"),
        ("2026-11-28T10:00:00Z", "deny", nobody),
    ]
    matrix._show(
        screen,
        [
            (
                EvalRequest(principal="carol", operation="service_restart", target="stage-1", at=at),
                EvalResult(id=None, decision=word, rules=["r"], reason=why, effective_parameters={}, trace=[]),
            )
            for at, word, why in given
        ],
    )
    lines = paper.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for at, word in (("2026-11-27", "allow"), ("2026-11-28", "deny")):
        assert any(at in line and word in line for line in lines), lines


def test_matrix_by_files_outside_an_installation_needs_principals(bare: CliRunner) -> None:
    refused = writ(bare, "matrix", *RESTART, "-t", "prod-*", *FILES)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("writ: name the principals by --principal: no installation here says who you are")


def test_less_coverage_than_required_fails(bare: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    writ(bare, "init", "--template", "homelab", file)
    file.write_text(file.read_text() + "      - {name: unseen, operations: [network_scan], allowed: false}\n")
    assert writ(bare, "test", file).exit_code == 0
    short = writ(bare, "test", file, "--fail-under", "100")
    assert short.exit_code == 1
    assert "'unseen' decides no case" in short.stdout


def test_policy_commands_load_the_engine_only_when_they_need_it() -> None:
    script = (
        "import sys; from writ_cli.main import cli; import click;"
        "policy = cli.get_command(click.Context(cli), 'policy'); policy.list_commands(click.Context(policy));"
        "assert 're2' not in sys.modules and 'writ_rules' not in sys.modules;"
        "policy.get_command(click.Context(policy), 'validate');"
        "assert 're2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_answer_comes_before_the_next_question_is_there() -> None:
    command = (str(Path(sys.executable).with_name("writ")), "policy", "eval", *map(str, FILES))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (1, 2):
            process.stdin.write(json.dumps({**QUESTION, "id": number}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == number
