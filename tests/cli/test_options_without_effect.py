"""Options that exclude each other: no option on the command line is dropped without a word."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.commands import Command
from tests.cli.test_policy_files import LISTS, PRODUCTION, bare, writ

__all__ = ["bare"]


async def test_folder_beside_a_context_is_refused(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await command("context", "-o", "json")).stdout)
    named = ("--context", str(file), "--home", str(tmp_path / "other"))
    for words in (("targets",), ("run", "network_status", "-t", "a"), ("mcp", "config", "--client", "codex")):
        refused = await command(*words, *named)
        assert (refused.exit_code, refused.stdout) == (2, ""), refused
        assert f"{file} names an installation, so --home has no effect" in refused.stderr
    refused = await command("targets", *named[2:], WRIT_CONTEXT=str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    judged = ("policy", "can-i", "network_status", "-t", "prod-web-1", "--policy", str(PRODUCTION), *map(str, LISTS))
    assert "--home has no effect" in (await command(*judged, *named)).stderr
    assert (await command("targets", *named[:2], WRIT_HOME=str(tmp_path / "other"))).exit_code == 0


@pytest.mark.parametrize("more", [LISTS[:2], LISTS[2:], ("--mode", "strict")])
def test_validation_by_the_running_writ_takes_no_lists_and_no_mode(bare: CliRunner, more: tuple[object, ...]) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--running", *more)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{more[0]}: the running Writ has its own" in refused.stderr


@pytest.mark.parametrize(
    ("layout", "form"),
    [("github", "json"), ("github", "table"), ("text", "json"), ("json", "yaml"), ("json", "table"), ("sarif", "yaml")],
)
def test_validation_has_one_format(bare: CliRunner, layout: str, form: str) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--format", layout, "-o", form)
    assert (refused.exit_code, f"--output: --format is {layout}: leave one out" in refused.output) == (2, True)
    assert "production-security" not in refused.output


def test_validation_has_one_format_also_for_a_field(bare: CliRunner) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--format", "text", "--field", "0.name")
    assert (refused.exit_code, "--field: --format is text" in refused.stderr) == (2, True)
    assert writ(bare, "validate", PRODUCTION, "--format", "json", "--field", "0.valid").stdout == "true\n"
    for layout, form in (("text", "table"), ("json", "json"), ("sarif", "json")):
        assert writ(bare, "validate", PRODUCTION, "--format", layout, "-o", form).exit_code == 0
