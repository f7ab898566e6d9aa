"""Every command that reads a policy shows its mistakes on the terminal."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from writ_cli.main import cli

EXAMPLES = Path(__file__).parents[2] / "policies" / "examples"
LISTS = ("--inventory", EXAMPLES / "inventory.yaml", "--principals", EXAMPLES / "principals.yaml")
SUITE = f"""
policy: bad.yaml
inventory: {EXAMPLES}/inventory.yaml
principals: {EXAMPLES}/principals.yaml
now: 2026-11-24T10:00:00Z
cases:
  - {{name: a, callers: [alice], targets: [dev-1], operations: [service_restart], decision: deny}}
"""


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--policy"),
        ("explain", "--principal", "alice", "--target", "prod-web-1", "service_restart", "--policy"),
        ("can-i", "--as", "alice", "--target", "prod-web-1", "service_restart", "--policy"),
        ("who-can", "--target", "prod-web-1", "service_restart", "--policy"),
        ("test",),
    ],
)
def test_every_command_that_reads_a_policy_lists_its_mistakes_with_lines(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("policies:\n  global_policies:\n  - name: a\n    operations: []\n    alowed: true\n")
    suite = tmp_path / "bad_test.yaml"
    suite.write_text(SUITE)
    lists = () if words == ("test",) else LISTS
    runner = CliRunner(env={"WRIT_HOME": str(tmp_path / "none"), "NATS_URL": "", "WRIT_PRINCIPAL": ""})
    arguments = ["policy", *words, suite if words == ("test",) else bad, *lists]
    shown = runner.invoke(cli, list(map(str, arguments)))
    assert shown.exit_code == 2
    problem = "unknown key 'alowed'; did you mean 'allowed'?"
    assert f"\n{bad}:5:5: {problem}\n    5 |     alowed: true\n      |     ^" in shown.stderr
    as_json = json.loads(runner.invoke(cli, [*map(str, arguments), "-o", "json"]).stdout)
    places = [(one["file"], one["line"], one["column"]) for one in as_json["error"]["problems"]]
    assert places == [(str(bad), 3, 5), (str(bad), 5, 5)]
    assert shown.stderr.startswith(f"writ: 2 mistakes:\n{bad}:3:5: the key 'allowed' is missing\n    3 |   - name: a\n")
