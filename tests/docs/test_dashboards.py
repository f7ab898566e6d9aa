"""The dashboards parse with Grafana's own SDK, use existing metrics, and query the provisioned source."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.grafana.generate import DASHBOARDS
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.docs.test_runbooks import METRIC, made

from writ_testing.peers.programs import program

GRAFANA = Path(__file__).parents[2] / "deploy/grafana"
REQUIRED = ("overview", "policy", "pools", "audit", "operation")
SUFFIX = re.compile(r"_(bucket|count|sum)$")
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def page(name: str) -> dict[str, Any]:
    return dict(json.loads((GRAFANA / f"dashboards/{name}.json").read_text()))


def targets(name: str) -> list[dict[str, Any]]:
    return [target for panel in page(name)["panels"] for target in panel.get("targets", ())]


def provisioned(kind: str) -> dict[str, Any]:
    (path,) = (GRAFANA / "provisioning" / kind).iterdir()
    return dict(yaml.safe_load(path.read_text()))


def test_each_required_dashboard_exists() -> None:
    assert tuple(DASHBOARDS) == REQUIRED
    assert {path.name for path in (GRAFANA / "dashboards").iterdir()} == {f"{name}.json" for name in DASHBOARDS}


@every_dashboard
def test_the_sdk_of_grafana_reads_it_and_would_write_the_same(name: str) -> None:
    register_default_plugins()
    read = Dashboard.from_json(page(name))
    assert read.uid == f"writ-{name}"
    assert json.loads(JSONEncoder(sort_keys=True).encode(read)) == page(name)


@every_dashboard
def test_every_panel_has_its_own_number_and_says_what_it_is(name: str) -> None:
    panels = page(name)["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert all(panel["title"] for panel in panels)
    assert all(panel["type"] in ("row", "text") or panel["targets"] for panel in panels)


@every_dashboard
def test_dashboard_queries_existing_metrics_in_valid_promql(name: str) -> None:
    for target in targets(name):
        named = {SUFFIX.sub("", word) for word in METRIC.findall(target["expr"])}
        assert named <= made() | {"writ_policy_info"}, target["expr"]
        expression = target["expr"].replace("$__rate_interval", "1m")
        command = [program("promtool"), "--experimental", "promql", "format", expression]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@every_dashboard
def test_dashboard_queries_the_provisioned_source(name: str) -> None:
    (source,) = provisioned("datasources")["datasources"]
    sources = [target["datasource"] for target in targets(name)]
    sources += [panel["datasource"] for panel in page(name)["panels"] if "targets" in panel]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in sources)


def test_an_example_leads_to_the_page_of_its_operation() -> None:
    (source,) = provisioned("datasources")["datasources"]
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "operation_id"
    assert destination["url"] == "/d/writ-operation/?var-operation=$${__value.raw}"
    operation = page("operation")
    assert [variable["name"] for variable in operation["templating"]["list"]] == ["operation"]
    panels = [panel for panel in operation["panels"] if "targets" in panel]
    assert all(panel["targets"][0]["exemplar"] for panel in panels)
    (filtered,) = {json.dumps(panel["transformations"], sort_keys=True) for panel in panels}
    assert '"fieldName": "operation_id"' in filtered
    assert '"value": "$operation"' in filtered


def test_the_source_is_queried_no_more_often_than_it_scrapes() -> None:
    (source,) = provisioned("datasources")["datasources"]
    prometheus = yaml.safe_load((GRAFANA.parent / "prometheus/prometheus.yaml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_grafana_reads_dashboards_from_the_folder_that_compose_mounts() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_prediction_of_the_journal_waits_until_it_has_six_hours_to_go_by(tmp_path: Path) -> None:
    """At the start of an installation it was several hundred percent, in red; after an archive it was below zero."""
    (panel,) = (one for one in page("audit")["panels"] if one["title"] == "In a week")
    expression = panel["targets"][0]["expr"]
    fresh = {"series": "writ_journal_fill_ratio", "values": "0 0.0001 0.0002+0x720"}
    grown = {"series": "writ_journal_fill_ratio", "values": "0.1+0.0001x720"}
    archived = {"series": "writ_journal_fill_ratio", "values": "0.9-0.001x720"}
    tests = [
        _of_expression(expression, fresh, {"10m": 2, "7h": 2}),
        _of_expression(expression, grown, {"10m": 1010, "7h": 1000 + 420 + 7 * 1440}),
        _of_expression(expression, archived, {"10m": 8900, "7h": 0}),
    ]
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_first_event_of_a_series_is_shown(tmp_path: Path) -> None:
    """A series by operation begins with its first event, so `rate` alone saw none of it. A series that was not read
    once, in the 30th minute, does not begin anew.
    """
    (panel,) = (one for one in page("overview")["panels"] if one["title"] == "Ended, by operation")
    expression = panel["targets"][0]["expr"].replace("$__rate_interval", "5m")
    of = '{job="writ", instance="a", operation="%s"}'
    series = [
        {"series": 'up{job="writ", instance="a"}', "values": "1x29 0 1x9"},
        {"series": f"writ_operations_total{of % 'rare'}", "values": "_x10 1x19 stale 1x9"},
        # from before Prometheus began
        {"series": f"writ_operations_total{of % 'old'}", "values": "100x29 stale 100x9"},
    ]
    none = {"old": 0, "rare": 0}
    expected = {"4m": {"old": 0}, "9m": {"old": 0}, "11m": {"old": 0, "rare": 33}, "17m": none}
    expected |= {"29m": none, "31m": none, "34m": none, "35m": none, "36m": none}
    cases = [
        {
            "expr": f"round(10000 * {expression})",
            "eval_time": at,
            "exp_samples": [{"labels": f'{{operation="{name}"}}', "value": value} for name, value in values.items()],
        }
        for at, values in expected.items()
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _of_expression(expression: str, series: dict[str, str], expected: dict[str, int]) -> dict[str, Any]:
    """Return a test of promtool: the value in ten thousandths, at some times, by a series of one sample a minute."""
    cases = [
        {"expr": f"round(10000 * {expression})", "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in expected.items()
    ]
    return {"interval": "1m", "input_series": [series], "promql_expr_test": cases}
