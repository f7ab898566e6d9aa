"""`writ policy validate` for CI: folders, standard input, GitHub, SARIF, and the hook of pre-commit."""

import json
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from tests.cli.test_policy_files import LISTS, POLICIES, bare, writ

from writ_cli.policy.validation_formats import ValidatedFile, github, sarif
from writ_contracts.policy.questions import PolicyProblem
from writ_documents import yaml_file
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_rules.suites import is_suite

__all__ = ["bare"]
ROOT = Path(__file__).parents[2]
BAD = "policies:\n  name: bad\n  alow: 1\n"
HOSTILE = ValidatedFile(
    file="a,b:c.yaml",
    valid=False,
    name="",
    rules=0,
    problems=[PolicyProblem(severity="lint", line=3, column=5, message="100%\n::error::forged\r")],
)


def test_folder_of_an_installation_has_json_that_is_no_policy(bare: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "policy-version.json").write_text('{"number":1,"digest":"a"}')
    (tmp_path / "one.json").write_text('{"policies": {"name": "one"}}')
    (tmp_path / "two.json").write_text('{\n    "policies": {"name": "two"}\n}')
    found = json.loads(writ(bare, "validate", tmp_path, "--format", "json").stdout)
    assert [Path(one["file"]).name for one in found] == ["one.json", "two.json"]


def test_policy_of_a_new_installation_may_name_people_and_targets_to_come(bare: CliRunner, tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    create_installation(home)
    shown = writ(bare, "validate", home.policy, "--home", str(home.root))
    assert (shown.exit_code, shown.stdout.count("warning:")) == (0, 1), shown.output
    assert "nobody can give this approval: no human has role approver" in shown.stdout
    text, people = home.policy.read_text(), home.principals.read_text()
    home.principals.write_text(people.replace("  - admin", "  - audtor"))
    shown = writ(bare, "validate", home.policy, "--home", str(home.root))
    assert "no principal has role 'auditor'; did you mean 'audtor'?" in shown.stdout
    home.principals.write_text(people)
    home.policy.write_text(text.replace("user_roles: [admin, auditor]", "user_roles: [admin, auditr]"))
    shown = writ(bare, "validate", home.policy, "--home", str(home.root))
    assert "no principal has role 'auditr'" in shown.stdout
    assert shown.stdout.count("warning:") == 2, shown.stdout
    lists = ("--inventory", home.inventory, "--principals", home.principals)
    assert "no principal has role 'developer'" in writ(bare, "validate", home.policy, *lists).stdout


def test_number_with_the_key_policies_is_no_policy(bare: CliRunner, tmp_path: Path) -> None:
    """`nats/sizes.json` of an installation has the size of the stream of policies."""
    (tmp_path / "sizes.json").write_text('{\n  "journal": 1,\n  "policies": 33554432\n}\n')
    shown = writ(bare, "validate", tmp_path)
    assert (shown.exit_code, "no policy below this folder" in shown.output) == (2, True)
    (tmp_path / "policy.json").write_text('{\n  "policies": {"name": "a", "global_policies": []}\n}\n')
    shown = writ(bare, "validate", tmp_path)
    assert "policy.json: " in shown.output
    assert "sizes.json" not in shown.output


def test_folder_stands_for_its_policies_and_suites(bare: CliRunner) -> None:
    shown = writ(bare, "validate", POLICIES, "--format", "json")
    found = json.loads(shown.stdout)
    assert [Path(one["file"]).name for one in found] == sorted(path.name for path in POLICIES.glob("*.yaml"))
    assert shown.exit_code == 0
    empty = writ(bare, "validate", POLICIES / "examples")
    assert (empty.exit_code, "no policy below this folder" in empty.output) == (2, True)


def test_policy_comes_by_standard_input(bare: CliRunner) -> None:
    assert writ(bare, "validate", "-", stdin="policies: {name: x}").exit_code == 0
    shown = writ(bare, "validate", "-", "--format", "github", stdin=BAD)
    assert shown.exit_code == 2
    assert shown.stdout.startswith("::error file=-,line=3,col=3::unknown key 'alow'")


def test_github_command_cannot_be_forged_by_a_document() -> None:
    (line,) = github([HOSTILE])
    assert line == "::error file=a%2Cb%3Ac.yaml,line=3,col=5::100%25%0A::error::forged%0D"


def test_sarif_log_names_place_level_and_rule() -> None:
    (run,) = sarif([HOSTILE])["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("lint", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a%2Cb%3Ac.yaml"}, "region": {"startLine": 3, "startColumn": 5}}
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["lint"]


def test_verdict_by_files_is_that_of_a_service(bare: CliRunner, tmp_path: Path) -> None:
    """Missing names are warnings in both; an option makes them errors."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "policies:\n  name: x\n  global_policies:\n"
        "    - {name: a, operations: [service_restart], allowed: true, targets: [nowhere]}\n"
    )
    shown = writ(bare, "validate", policy, *LISTS)
    assert (shown.exit_code, "warning" in shown.stdout, "nowhere" in shown.stdout) == (0, True, True)
    assert writ(bare, "validate", policy, *LISTS, "--fail-on", "warning").exit_code == 2


def test_hook_of_pre_commit_runs_and_finds_mistakes(tmp_path: Path) -> None:
    (hook,) = yaml_file.read(ROOT / ".pre-commit-hooks.yaml").data
    shipped = [path.relative_to(ROOT) for path in (ROOT / "policies").rglob("*.yaml")]
    named = [path for path in shipped if re.search(hook["files"], str(path))]
    assert {str(path) for path in named} == {str(path) for path in shipped if "examples" not in path.parts}
    page = (ROOT / "docs" / "policy-checks.md").read_text()
    [documented] = re.findall(r'id: writ-policy, files: "(.*)"', page)
    assert [path for path in shipped if re.search(documented, str(path))] == named
    assert hook["types_or"] == ["yaml", "json"]  # where `files` is a folder with a page in it, too
    command = [str(Path(sys.executable).with_name("writ")), *hook["entry"].split()[1:]]
    bad = tmp_path / "policy.yaml"
    bad.write_text(BAD)
    assert re.search(hook["files"], str(bad))
    ended = [
        subprocess.run([*command, *map(str, files)], cwd=ROOT, capture_output=True, check=False, timeout=60).returncode
        for files in ([path for path in named if not is_suite(path)][:1], [bad])
    ]
    assert ended == [0, 2]


def test_a_broken_default_list_fails_a_validation_that_fails_on_warnings(tmp_path: Path) -> None:
    """What the inventory lacks is not known then."""
    home = Home(tmp_path / ".writ")
    create_installation(home)
    runner = CliRunner(env={"WRIT_HOME": str(home.root), "NATS_URL": "", "WRIT_PRINCIPAL": ""})
    home.inventory.write_text("targets: [\n")
    plain = "policies: {name: x, global_policies: [{name: a, allowed: true, operations: [service_stop]}]}"
    strict = ("validate", "-", "--fail-on", "warning")
    shown = writ(runner, *strict, stdin=plain)
    assert (shown.exit_code, "warning" in shown.stdout) == (2, False)
    home.inventory.unlink()
    assert writ(runner, *strict, stdin=plain).exit_code == 0
