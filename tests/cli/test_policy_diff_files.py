"""`writ policy diff` of two files, without a server."""

import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from tests.cli.test_policy_files import LISTS, PRODUCTION, bare, writ

__all__ = ["bare"]


def test_diff_shows_changes_by_example_requests(bare: CliRunner, tmp_path: Path) -> None:
    same = writ(bare, "diff", PRODUCTION, PRODUCTION, *LISTS, "--exit-code")
    assert (same.exit_code, same.stdout) == (0, "no decision changes; no rule differs\n")
    less = tmp_path / "less.yaml"
    less.write_text(
        PRODUCTION.read_text().replace("      - name: audit\n", "      - name: audit\n        enabled: false\n")
    )
    shown = writ(bare, "diff", PRODUCTION, less, *LISTS, "--exit-code")
    assert re.search(r"; both policies decided [1-9]\d* requests of ", shown.output.replace("\n", " "))
    assert shown.exit_code == 1
    assert "newly denied: audit_read on gateway\n  roles: auditor, security (human)\n" in shown.stdout
    assert '"principal":"erin"' in shown.stdout
    bad = tmp_path / "bad.yaml"
    bad.write_text("policies: {name: x, global_polices: []}")
    refused = writ(bare, "diff", PRODUCTION, bad)
    assert refused.exit_code == 2
    assert "did you mean 'global_policies'?" in refused.stdout


def test_diff_shows_one_change_for_all_operations_and_targets_that_it_concerns(bare: CliRunner, tmp_path: Path) -> None:
    def policy(**keys: Any) -> Path:
        rules = [
            {"name": "web", "operations": ["service_restart", "service_start"], "allowed": True, **keys},
            {"name": "elsewhere", "operations": ["service_stop"], "targets": ["nowhere-*"], "allowed": True, **keys},
        ]
        path = tmp_path / f"{len(keys)}.yaml"
        path.write_text(json.dumps({"policies": {"name": "x", "global_policies": rules}}))
        return path

    shown = writ(bare, "diff", policy(), policy(operation_timeout=30), *LISTS, "--exit-code").stdout
    assert shown.count("allowed with other terms: service_restart, service_start on ") == 1
    assert "  before and after: allow by web; " in shown
    assert "elsewhere differs, but no request on these targets by these principals is in scope\n" in shown
    assert "\n1 change; both policies decided " in shown


def test_diff_exits_with_1_where_only_the_bounds_of_emergencies_change(bare: CliRunner, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(PRODUCTION.read_text().replace("policies:\n", "policies:\n  emergencies: {longest: 1h}\n", 1))
    shown = writ(bare, "diff", PRODUCTION, other, *LISTS, "--exit-code")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (1, "emergencies.longest: 8h → 1h")
