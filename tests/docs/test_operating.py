"""docs/operating.md and docs/plugins.md say what the code does: metrics, exit statuses, and the example's own lines."""

import re
from pathlib import Path

from docs.generate.metrics_table import registries

from writ_cli.exit_status import Exit
from writ_contracts.errors import CODES

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs/operating.md").read_text()
PLUGINS = (ROOT / "docs/plugins.md").read_text()


def section(title: str) -> str:
    return OPERATING.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_metrics_to_look_at_are_those_of_the_services_that_are_named() -> None:
    made = {service: {one.name for one in metrics.families} for service, metrics in registries().items()}
    rows = re.findall(r"^\| (`writ_.*?) \| (.*?) \|", section("Health"), re.MULTILINE)
    assert rows
    for names, services in rows:
        of = set().union(*(made[one] for one in (made if services == "all" else services.split(", "))))
        assert set(re.findall(r"`(writ_\w+)`", names)) <= of


def test_every_exit_status_is_in_the_table_and_no_other() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", section("Exit statuses"), re.MULTILINE)}
    assert told == {int(status) for status in Exit}


def test_the_codes_that_are_explained_exist() -> None:
    words = set(re.findall(r"`([a-z_]+)`", section("When something is wrong").split("| a `security`")[0]))
    assert words - {"expired", "unknown"} <= set(CODES)


def test_the_lines_of_the_plugin_example_are_those_of_the_test_plugin() -> None:
    sources = [
        (ROOT / "libs/testing" / name).read_text()
        for name in (
            "pyproject.toml",
            "writ_testing/plugin/operations.py",
            "writ_testing/plugin/handlers.py",
            "writ_testing/plugin/evaluators.py",
        )
    ]
    blocks = re.findall(r"^```(?:python|toml|text)\n(.*?)^```$", PLUGINS, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    assert [block for block in blocks if not any(block in source for source in sources)] == []
