"""`writ policy diff` of two files, without a server."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.test_policy_files import LISTS, PRODUCTION, bare, writ

from writ_cli.policy.diff import _show
from writ_cli.terminal.output import Screen
from writ_contracts.policy.access import PolicyDiffReply, PolicyTextChange
from writ_rules.rule_texts import LONGEST_LINE, MOST_CHARACTERS, MOST_LINES, MOST_TEXTS

__all__ = ["bare"]


def test_diff_shows_changes_by_example_requests(bare: CliRunner, tmp_path: Path) -> None:
    same = writ(bare, "diff", PRODUCTION, PRODUCTION, *LISTS, "--exit-code")
    assert (same.exit_code, same.stdout) == (0, "no decision changes; no rule differs\n")
    less = tmp_path / "less.yaml"
    less.write_text(
        PRODUCTION.read_text().replace("      - name: audit\n", "      - name: audit\n        enabled: false\n")
    )
    shown = writ(bare, "diff", PRODUCTION, less, *LISTS, "--exit-code")
    assert re.search(r"; both policies decided [1-9]\d* requests of ", shown.output.replace("\n", " "))
    assert shown.exit_code == 1
    assert "newly denied: audit_read on gateway\n  roles: auditor, security (human)\n" in shown.stdout
    assert '"principal":"erin"' in shown.stdout
    bad = tmp_path / "bad.yaml"
    bad.write_text("policies: {name: x, global_polices: []}")
    refused = writ(bare, "diff", PRODUCTION, bad)
    assert refused.exit_code == 2
    assert "did you mean 'global_policies'?" in refused.stdout


def test_diff_shows_one_change_for_all_operations_and_targets_that_it_concerns(bare: CliRunner, tmp_path: Path) -> None:
    def policy(**keys: Any) -> Path:
        rules = [
            {"name": "web", "operations": ["service_restart", "service_start"], "allowed": True, **keys},
            {"name": "elsewhere", "operations": ["service_stop"], "targets": ["nowhere-*"], "allowed": True, **keys},
        ]
        path = tmp_path / f"{len(keys)}.yaml"
        path.write_text(json.dumps({"policies": {"name": "x", "global_policies": rules}}))
        return path

    shown = writ(bare, "diff", policy(), policy(operation_timeout=30), *LISTS, "--exit-code").stdout
    assert shown.count("allowed with other terms: service_restart, service_start on ") == 1
    assert "  before and after: allow by web; " in shown
    assert "\nelsewhere: changed, but applies to nobody at present: " in shown
    assert "\n1 change; both policies decided " in shown


def test_diff_exits_with_1_where_only_the_bounds_of_emergencies_change(bare: CliRunner, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(PRODUCTION.read_text().replace("policies:\n", "policies:\n  emergencies: {longest: 1h}\n", 1))
    shown = writ(bare, "diff", PRODUCTION, other, *LISTS, "--exit-code")
    assert shown.exit_code == 1
    first = ["the policy's own keys", "  text:"]
    assert shown.stdout.splitlines()[:2] == first
    assert "\n    | +emergencies:\n    | +  longest: 1h\nemergencies.longest: 8h → 1h\n" in shown.stdout


RESTARTS: dict[str, Any] = {"name": "restarts", "allowed": True, "operations": ["service_restart"]}
STOPS: dict[str, Any] = {"name": "stops", "allowed": True, "operations": ["service_stop"]}


def file_of(path: Path, *rules: dict[str, Any], **keys: Any) -> Path:
    path.write_text(json.dumps({"policies": {"name": "x", "global_policies": rules, **keys}}))
    return path


def test_diff_shows_the_text_of_a_changed_rule_above_its_decisions(bare: CliRunner, tmp_path: Path) -> None:
    old = file_of(tmp_path / "old.json", RESTARTS, STOPS)
    new = file_of(tmp_path / "new.json", {**RESTARTS, "user_roles": ["operator"]}, STOPS)
    shown = writ(bare, "diff", old, new).stdout
    text = [
        "restarts",
        "  text:",
        "    | @@ -3,3 +3,5 @@",
        "    |    allowed: true",
        "    |    operations:",
        "    |    - service_restart",
        "    | +  user_roles:",
        "    | +  - operator",
    ]
    assert shown.splitlines()[: len(text)] == text
    assert shown.splitlines()[len(text)].startswith("newly denied: service_restart on ")
    reply = json.loads(writ(bare, "diff", old, new, "-o", "json").stdout)
    assert [(one["rule"], one["diff"].splitlines()[-1]) for one in reply["texts"]] == [("restarts", "+  - operator")]


def test_diff_shows_no_text_for_another_order_comments_or_default_values(bare: CliRunner, tmp_path: Path) -> None:
    old = file_of(tmp_path / "old.json", RESTARTS, STOPS)
    new = tmp_path / "new.yaml"
    new.write_text(
        """
policies:  # the same
  name: x
  global_policies:
    - {operations: [service_stop], allowed: yes, name: stops, enabled: true}
    - {name: restarts, operations: [service_restart], allowed: true}
"""
    )
    assert writ(bare, "diff", old, new).stdout == "no decision changes; no rule differs\n"


def test_diff_names_a_changed_rule_that_decides_nothing_differently(bare: CliRunner, tmp_path: Path) -> None:
    old = file_of(tmp_path / "old.json", RESTARTS)
    new = file_of(tmp_path / "new.json", {**RESTARTS, "description": "\u001b[2Jall"}, {**STOPS, "enabled": False})
    shown = writ(bare, "diff", old, new, "--exit-code")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("restarts, stops: changed, but nothing is decided differently\n  text:\n")
    assert "    | +  enabled: false\n" in shown.stdout
    assert "\u001b" not in shown.stdout
    assert shown.stdout.endswith("\nno decision changes; no request had to be compared\n")


def test_a_comparison_that_is_not_complete_has_another_exit_status(bare: CliRunner, tmp_path: Path) -> None:
    def named(pattern: str) -> dict[str, Any]:
        return {**RESTARTS, "parameter_constraints": {"service_name": {"pattern": pattern}}}

    old, new = (file_of(tmp_path / f"{at}.json", named(text)) for at, text in enumerate(("[a-z]{2}.*", "[a-z]{2,}.*")))
    shown = writ(bare, "diff", old, new, *LISTS, "--exit-code")
    assert "no change was found" in shown.stdout
    assert "not everything was tried: " in shown.stdout
    assert shown.exit_code == 1
    assert writ(bare, "diff", old, new, *LISTS).exit_code == 0


def test_diff_names_a_new_rule_for_a_role_that_nobody_has(bare: CliRunner, tmp_path: Path) -> None:
    old = file_of(tmp_path / "old.json", RESTARTS)
    new = file_of(tmp_path / "new.json", RESTARTS, {**STOPS, "user_roles": ["nobodys"]})
    shown = writ(bare, "diff", old, new, *LISTS).stdout
    assert shown.startswith("stops: changed, but applies to nobody at present: ")
    assert "    | +- name: stops\n" in shown
    assert "nothing is decided differently" not in shown


def test_diff_bounds_the_texts_that_it_shows(bare: CliRunner, tmp_path: Path) -> None:
    def rules(allowed: bool) -> list[dict[str, Any]]:
        return [{**STOPS, "name": f"r{number}", "allowed": allowed} for number in range(MOST_TEXTS + 2)]

    long = {**RESTARTS, "targets": [f"web-{number}" for number in range(2 * MOST_LINES)]}
    wide = {**STOPS, "targets": ["w" * 50 + str(number) for number in range(MOST_LINES)]}
    old = file_of(tmp_path / "old.json", RESTARTS, STOPS, *rules(True))
    new = file_of(tmp_path / "new.json", long, wide, *rules(False))
    shown = writ(bare, "diff", old, new, *LISTS).stdout
    texts = json.loads(writ(bare, "diff", old, new, *LISTS, "-o", "json").stdout)["texts"]
    lines = [len(one["diff"].splitlines()) for one in texts[:2]]
    assert (lines[0], lines[1] < MOST_LINES) == (MOST_LINES + 1, True)
    assert all(len(one["diff"]) < MOST_CHARACTERS + 20 for one in texts)
    assert shown.count("  text:\n") == MOST_TEXTS
    assert "\n4 more changed texts: not shown\n" in shown
    assert re.search(r"\n    \| \(\d+ more lines\)\n", shown)


def test_diff_cuts_a_long_line_and_shows_the_lines_after_it(bare: CliRunner, tmp_path: Path) -> None:
    def text(length: int) -> list[str]:
        new = {**STOPS, "description": "d" * length, "user_roles": ["operator"], "max_targets": 2}
        old, file = file_of(tmp_path / "old.json", STOPS), file_of(tmp_path / "new.json", new)
        lines: list[str] = json.loads(writ(bare, "diff", old, file, "-o", "json").stdout)["texts"][0]["diff"].split(
            "\n"
        )
        return [line for line in lines if line.startswith("+")]

    (whole,) = [line for line in text(1_000) if "ddd" in line]
    assert whole.endswith("d" * 1_000)
    lines = text(MOST_CHARACTERS + 100)
    (cut,) = [line for line in lines if "ddd" in line]
    assert re.fullmatch(r"\+  description: d+… \(\d+ more characters\)", cut)
    assert len(cut) < LONGEST_LINE + 30
    assert {"+  - operator", "+  max_targets: 2"} <= set(lines)


def test_diff_says_of_no_rule_that_it_decides_nothing_where_the_reply_was_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [PolicyTextChange(rule="stops", diff="+- name: stops")]
    _show(Screen("text"), PolicyDiffReply(texts=texts, bounded=["1 of 2 changes listed"], compared=2))
    shown = capsys.readouterr().out
    assert "nothing is decided differently" not in shown
    assert "\nstops: changed; not everything was compared" in shown
    _show(Screen("text"), PolicyDiffReply(texts=texts, compared=2))
    assert "stops: changed, but nothing is decided differently\n" in capsys.readouterr().out


def test_diff_does_not_say_that_no_rule_differs_where_a_former_service_sends_no_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show(Screen("text"), PolicyDiffReply(unreached=["stops"]))
    shown = capsys.readouterr().out
    assert shown.startswith("stops: changed, but applies to nobody at present: ")
    assert shown.endswith("\nno decision changes; no request had to be compared\n")
