"""docs/operating.md and docs/plugins.md say what the code does: metrics, exit statuses, and the example's own lines."""

import re
from pathlib import Path

from writ_client.command.exits import Exit
from writ_contracts.errors import CODES

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs/operating.md").read_text()
PLUGINS = (ROOT / "docs/plugins.md").read_text()
METRIC = re.compile(r"\.(counter|gauge|measure|histogram|info)\(\s*\"(writ_\w+)\"")


def section(title: str) -> str:
    return OPERATING.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_metric_is_in_the_table_and_no_other() -> None:
    code = "\n".join(path.read_text() for top in ("libs", "services") for path in (ROOT / top).rglob("writ_*/**/*.py"))
    made = {name + ("_info" if kind == "info" else "") for kind, name in METRIC.findall(code)}
    assert set(re.findall(r"`(writ_\w+)`", section("Health"))) == made


def test_every_exit_status_is_in_the_table_and_no_other() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", section("Exit statuses"), re.MULTILINE)}
    assert told == {int(status) for status in Exit}


def test_the_codes_that_are_explained_exist() -> None:
    words = set(re.findall(r"`([a-z_]+)`", section("When something is wrong").split("| a `security`")[0]))
    assert words - {"expired", "unknown"} <= set(CODES)


def test_the_lines_of_the_plugin_example_are_those_of_the_test_plugin() -> None:
    sources = [
        (ROOT / "libs/testing" / name).read_text()
        for name in ("pyproject.toml", "writ_testing/operations.py", "writ_testing/handlers.py")
    ]
    blocks = re.findall(r"^```(?:python|toml|text)\n(.*?)^```$", PLUGINS, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    assert [block for block in blocks if not any(block in source for source in sources)] == []
