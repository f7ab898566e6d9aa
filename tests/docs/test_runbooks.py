"""Each alert has a runbook and test cases, uses existing metrics, and fires when it should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.generate import runbook_page
from docs.generate.metrics_table import registries

from writ_contracts.agents import VIOLATIONS
from writ_testing.each_case import each_case
from writ_testing.peers.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
}
TESTS = ("rules_test.yaml", "rules_of_days_test.yaml")
CASES = [
    case
    for file in TESTS
    for test in yaml.safe_load((PROMETHEUS / file).read_text())["tests"]
    for case in test["alert_rule_test"]
]
RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=\n## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL))
METRIC = re.compile(r"\bwrit_[a-z_]+")
COUNTED = re.compile(r"\b(?:increase|rate)\((writ_[a-z_]+)")


def promtool(*words: str) -> str:
    """Return promtool's output; fail the test if it fails."""
    done = subprocess.run([program("promtool"), *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made() -> set[str]:
    return {one.name for metrics in registries().values() for one in metrics.families}


def test_every_alert_has_one_runbook_and_every_runbook_an_alert() -> None:
    assert set(SECTIONS) == set(ALERTS)


@each_case("alert", ALERTS)
def test_a_runbook_names_cause_effect_checks_and_remedy(alert: str) -> None:
    parts = re.findall(r"^- \*\*(.+?):\*\* \S", SECTIONS[alert], re.MULTILINE)
    assert parts == ["What happened", "Affected", "Check", "Do"]


@each_case("alert", ALERTS)
def test_an_alert_names_its_runbook(alert: str) -> None:
    place = "{{ with $externalLabels.runbooks }}{{ . }}{{ else }}{{ $externalURL }}/consoles/runbooks.html{{ end }}"
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"{place}#{alert.lower()}"
    assert ALERTS[alert]["labels"]["severity"] in ("warning", "critical")


def test_page_of_runbooks_has_the_place_that_each_alert_links_to_and_no_link_that_leads_nowhere() -> None:
    page = (PROMETHEUS / "consoles/runbooks.html").read_text()
    places = set(re.findall(r'<h[12] id="([^"]+)"', page))
    assert places == {"runbooks", *(alert.lower() for alert in ALERTS)}
    assert {one.removeprefix("#") for one in re.findall(r'href="([^"]*)"', page)} <= places


def test_text_that_prometheus_would_execute_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runbooks.md").write_text("# Runbooks\n\nSee `{{ $labels }}`.\n")
    monkeypatch.setattr(runbook_page, "SOURCE", tmp_path / "runbooks.md")
    with pytest.raises(ValueError, match="would execute"):
        runbook_page.document()


@pytest.mark.parametrize("name", ["up.yaml", "systemd.yaml"])
def test_command_of_a_configuration_serves_the_page(name: str) -> None:
    assert f"prometheus --config.file={name} --web.console.templates=consoles" in (PROMETHEUS / name).read_text()


def test_each_kind_of_violation_has_a_next_step() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", SECTIONS["WritSecurityViolation"], re.MULTILINE)
    assert sorted(kind for row in rows for kind in re.findall(r"`(\w+)`", row)) == sorted(VIOLATIONS)


def test_alerts_and_runbooks_name_only_metrics_that_a_service_has() -> None:
    named = {word for rule in ALERTS.values() for word in METRIC.findall(rule["expr"])}
    assert named | set(METRIC.findall(RUNBOOKS)) <= made()


def test_counters_of_alerts_start_at_0() -> None:
    counted = {name for rule in ALERTS.values() for name in COUNTED.findall(rule["expr"])}
    lines = [line for one in registries().values() for line in one.exposition()[0].decode().splitlines()]
    assert counted
    for name in counted:
        assert [line for line in lines if re.match(rf"{name}\b.* 0\.0$", line)], name


@each_case("alert", ALERTS)
def test_an_alert_is_tried_where_it_must_fire_and_where_it_must_not(alert: str) -> None:
    fires = {bool(case["exp_alerts"]) for case in CASES if case["alertname"] == alert}
    assert fires == {True, False}


@pytest.mark.timeout(300)
def test_every_alert_does_in_its_cases_what_it_should() -> None:
    assert promtool("test", "rules", *TESTS).count("SUCCESS") == len(TESTS)
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", "rules.yaml")
