"""docs/operating/ and docs/plugins.md agree with the code: metrics, exit statuses, codes, lines of the example."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
from docs.generate.metrics_table import registries

from writ_agent.service import _checks as checks_of_agent
from writ_audit.service import Audit
from writ_cli.terminal.exit_status import Exit
from writ_client.client import Writ
from writ_client.queries.policy_queries import PolicyQueries
from writ_contracts.errors import CODES
from writ_executor.readiness import ExecutorReadiness
from writ_gateway.http.http_server import McpListener
from writ_installation.provisioner.provisioner import Provisioner
from writ_policy.service import PolicyService

ROOT = Path(__file__).parents[2]
OPERATING = ROOT / "docs/operating"
LONGEST_PAGE = 100
PLUGINS = (ROOT / "docs/plugins.md").read_text()


def section(page: str, title: str) -> str:
    return (OPERATING / page).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_operating_index_lists_every_page() -> None:
    index = (OPERATING / "README.md").read_text()
    pages = {path.name for path in OPERATING.glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_operating_pages_are_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in OPERATING.glob("*.md")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_PAGE} == {}


def test_the_metrics_to_look_at_are_those_of_the_services_that_are_named() -> None:
    made = {service: {one.name for one in metrics.families} for service, metrics in registries().items()}
    rows = re.findall(r"^\| (`writ_.*?) \| (.*?) \|", section("health.md", "Metrics"), re.MULTILINE)
    assert rows
    for names, services in rows:
        of = set().union(*(made[one] for one in (made if services == "all" else services.split(", "))))
        assert set(re.findall(r"`(writ_\w+)`", names)) <= of


class AnyParts:
    """In place of a service: it has every attribute, since checks are only named here."""

    name = "local"

    def __getattr__(self, attribute: str) -> "AnyParts":
        return self


CHECKS: dict[str, Any] = {
    "policy": PolicyService.checks,
    "executor": ExecutorReadiness.checks,
    "audit": Audit.checks,
    "gateway": McpListener.checks,
    "provisioner": cast(property, Provisioner.checks).fget,
    "agent": lambda parts: checks_of_agent(parts, parts, parts),
}


@pytest.mark.parametrize("service", CHECKS)
def test_every_check_of_readyz_is_in_the_table_with_its_service(service: str) -> None:
    text = section("health.md", "Checks")
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    named = {name for row in rows if service in row.split("|")[2] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(CHECKS[service](AnyParts())) - named == ({"control"} if service == "policy" else set())
    assert "`control` never fails" in text


def test_methods_for_versions_of_the_policy_exist() -> None:
    page = (OPERATING / "policy-versions.md").read_text()
    rows = [row.split("|")[3] for row in page.splitlines() if "`writ policy" in row and row.count("|") == 4]
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(named) == 8
    for name in named:
        group, _, method = name.rpartition(".")
        assert callable(getattr(PolicyQueries if group == "policy" else Writ, method, None)), name


def test_every_exit_status_is_in_the_table_and_no_other() -> None:
    documented = {
        int(number)
        for number in re.findall(r"^\| (\d+) \|", section("troubleshooting.md", "Exit statuses"), re.MULTILINE)
    }
    assert documented == {int(status) for status in Exit}


def test_the_codes_that_are_explained_exist() -> None:
    table = (OPERATING / "troubleshooting.md").read_text().split("| a `security`")[0]
    words = set(re.findall(r"^\| `([a-z_]+)`, `([a-z_]+)`|^\| `([a-z_]+)` \|", table, re.MULTILINE))
    words = {word for row in words for word in row if word}
    assert words
    assert words - {"expired", "denied", "unknown"} <= set(CODES)


def test_the_snippets_of_the_plugin_tutorial_are_lines_of_the_example() -> None:
    example = ROOT / "tests/example_plugin"
    paths = [
        *example.rglob("*.py"),
        example / "pyproject.toml",
        ROOT / "libs/testing/writ_testing/plugin/evaluators.py",
    ]
    sources = [path.read_text() for path in paths]
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```$", PLUGINS, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 17
    assert [block for block in blocks if not any(block in source for source in sources)] == []
