"""`writ policy convert` and `writ policy format` on files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from writ_cli.main import cli

OLD = """rules:
  - name: restarts
    target_pattern: "web-.*"
    allowed_operations: [restart]
    parameter_constraints:
      service_name: {type: string, validation_type: service_name}
"""


@pytest.fixture
def bare(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"WRIT_HOME": str(tmp_path / "none"), "NATS_URL": "", "WRIT_PRINCIPAL": ""})


def writ(runner: CliRunner, *words: object) -> Result:
    return runner.invoke(cli, ["policy", *map(str, words)])


def test_convert_writes_a_policy_that_is_valid(bare: CliRunner, tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD)
    shown = writ(bare, "convert", old, new)
    assert shown.exit_code == 0, shown.output
    assert writ(bare, "validate", new).exit_code == 0
    assert "targets:\n    - web-*" in new.read_text()
    again = writ(bare, "convert", old, new)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    assert json.loads(writ(bare, "convert", old, "-o", "json").stdout)["problems"] == []


def test_format_writes_files_and_check_only_reports(bare: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("policies:\n    name:  a # mine\n")
    file.chmod(0o640)
    checked = writ(bare, "format", file, "--check")
    assert (checked.exit_code, checked.stdout) == (1, f"{file}: is not in this style\n")
    assert writ(bare, "format", file).exit_code == 0
    assert file.read_text() == "policies:\n  name: a  # mine\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert json.loads(writ(bare, "format", file, "--check", "-o", "json").stdout) == [
        {"file": str(file), "changed": False}
    ]
    assert writ(bare, "format", tmp_path / "absent.yaml").exit_code == 2
    text = "policies:\n    name:  b # mine\n"
    piped = bare.invoke(cli, ["policy", "format", "-"], input=text)
    assert (piped.exit_code, piped.stdout) == (0, "policies:\n  name: b  # mine\n")
    piped = bare.invoke(cli, ["policy", "format", "--check", "-"], input=text)
    assert (piped.exit_code, piped.stdout) == (1, "standard input: is not in this style\n")
    piped = bare.invoke(cli, ["policy", "format", "-", "-o", "json"], input=text)
    assert json.loads(piped.stdout)[0]["text"] == "policies:\n  name: b  # mine\n"
    assert bare.invoke(cli, ["policy", "format", "-", str(file)], input=text).exit_code == 2
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    file.write_text("policies: {name:   a}\n")
    assert writ(bare, "format", link).exit_code == 0
    assert (link.is_symlink(), file.read_text()) == (True, "policies: {name: a}\n")
