"""`writ policy init --template`: a policy that is valid, with a suite that covers it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from tests.cli.test_policy_files import writ

from writ_cli.policy import validate

BEFORE_THE_FREEZES = 1_795_617_000.0
"""25 November 2026. The templates name the dates of a freeze, and once it has ended `validate` warns of it."""


@pytest.fixture
def bare(tmp_path: Path) -> CliRunner:
    """Return a command without any hint of an installation in the environment."""
    return CliRunner(env={"WRIT_HOME": str(tmp_path / "none"), "NATS_URL": "", "WRIT_PRINCIPAL": ""})


@pytest.mark.parametrize("template", ["homelab", "production", "ci-runner", "ai-assistant", "change-freeze"])
def test_a_template_is_valid_and_shown_by_its_suite(
    bare: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(validate, "time", SimpleNamespace(time=lambda: BEFORE_THE_FREEZES))
    file = tmp_path / "rules" / "mine.yaml"
    begun = writ(bare, "init", "--template", template, file, "-o", "json")
    assert begun.exit_code == 0, begun.output
    assert json.loads(begun.stdout)["suite"] == str(tmp_path / "rules/mine_test.yaml")
    validated = json.loads(writ(bare, "validate", file, tmp_path / "rules/mine_test.yaml", "-o", "json").stdout)
    assert [(one["valid"], one["problems"]) for one in validated] == [(True, []), (True, [])]
    tested = writ(bare, "test", file, "--fail-under", "100")
    assert tested.exit_code == 0, tested.output
    assert "(100 %)" in tested.stdout


def test_a_template_overwrites_nothing(bare: CliRunner, tmp_path: Path) -> None:
    suite = tmp_path / "mine_test.yaml"
    suite.write_text("mine")
    refused = writ(bare, "init", "--template", "homelab", tmp_path / "mine.yaml")
    assert refused.exit_code == 2
    assert "nothing is overwritten" in refused.stderr
    assert not (tmp_path / "mine.yaml").exists()
    assert suite.read_text() == "mine"
