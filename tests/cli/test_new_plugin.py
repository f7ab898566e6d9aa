"""`writ plugin new` writes a package whose tests pass at once, and `writ plugin list` finds it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from writ_cli.plugins.group import write_skeleton
from writ_contracts.errors import Conflict
from writ_testing.exhaustive import some

WRIT = str(Path(sys.executable).with_name("writ"))


def writ(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "WRIT_HOME": str(folder / "home"), "PYTHONPATH": path or os.environ.get("PYTHONPATH", "")}
    return subprocess.run(
        [WRIT, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def installed(folder: Path) -> str:
    """Return a path with the installed package: its code and metadata."""
    site = folder / "site"
    shutil.copytree(folder / "writ-acme" / "writ_acme", site / "writ_acme")
    info = site / "writ_acme-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: writ-acme\nVersion: 0.1.0\n")
    points = (
        "[writ.plugin]\nacme = writ_acme.descriptor:PLUGIN\n[writ.operations]\nacme = writ_acme.operations:OPERATIONS\n"
    )
    points += "[writ.backends]\nacme = writ_acme.backend:backend\n"
    (info / "entry_points.txt").write_text(f"{points}[writ.conformance]\nacme = writ_acme.trial_host:trial_host\n")
    return str(site)


def test_a_new_plugin_passes_its_own_tests_before_it_is_installed_and_is_listed_after_it(tmp_path: Path) -> None:
    done = writ(tmp_path, "plugin", "new", "acme")
    assert done.returncode == 0, done.stderr
    assert "pip install --no-deps -e writ-acme" in done.stdout
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "writ-acme"]
    tests = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert tests.returncode == 0, tests.stdout[-3000:]
    assert "Warning" not in tests.stdout + tests.stderr
    listed = writ(tmp_path, "plugin", "list", "-o", "json", path=installed(tmp_path))
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["api"], row["backends"]) == ("writ-acme", 1, ["acme"])
    assert row["operations"] == {"acme_put": "change", "acme_wait": "change"}


def test_a_plugin_is_checked_against_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p caller.has_a_plugin")
    write_skeleton(tmp_path / "writ-acme", "acme")
    path = installed(tmp_path)
    done = writ(tmp_path, "plugin", "check", "writ-acme", "-o", "json", path=path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"writ-acme": []}), done.stderr
    assert "writ-acme: backend acme passed 11 tests of the suite" in done.stderr
    backend = tmp_path / "site" / "writ_acme" / "backend.py"
    backend.write_text(backend.read_text().replace("async def probe(", "async def looked("))
    done = writ(tmp_path, "plugin", "check", "writ-acme", "--declared-only", "-o", "json", path=path)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"writ-acme": ["acme_put declares a probe, and its handler has none"]}


def test_an_operation_for_hosts_without_a_module_to_send_is_found(tmp_path: Path) -> None:
    write_skeleton(tmp_path / "writ-acme", "acme")
    path = installed(tmp_path)
    operations = tmp_path / "site" / "writ_acme" / "operations.py"
    operations.write_text(operations.read_text().replace('BACKENDS = ("acme",)', 'BACKENDS = ("acme", "ssh")'))
    check = ("plugin", "check", "writ-acme", "--declared-only", "-o", "json")
    done = writ(tmp_path, *check, path=path)
    lacking = "declares backend ssh, and no module of writ.hostops carries it out"
    assert json.loads(done.stdout) == {"writ-acme": [f"acme_put {lacking}", f"acme_wait {lacking}"]}
    (tmp_path / "site" / "writ_acme" / "hosts.py").write_text('HANDLERS = {"acme_put": None, "acme_wait": None}\n')
    points = tmp_path / "site" / "writ_acme-0.1.0.dist-info" / "entry_points.txt"
    points.write_text(f"{points.read_text()}[writ.hostops]\nacme = writ_acme.hosts\n")
    done = writ(tmp_path, *check, path=path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"writ-acme": []}), done.stderr


@pytest.mark.exhaustive
def test_a_backend_that_breaks_a_promise_of_the_suite_is_found(tmp_path: Path) -> None:
    write_skeleton(tmp_path / "writ-acme", "acme")
    path = installed(tmp_path)
    backend = tmp_path / "site" / "writ_acme" / "backend.py"
    backend.write_text(backend.read_text().replace("    draft.replace(path)\n", ""))
    done = writ(tmp_path, "plugin", "check", "writ-acme", "-o", "json", path=path)
    assert done.returncode == 1
    found = json.loads(done.stdout)["writ-acme"]
    assert any(one.startswith("backend acme: test_a_change_takes_effect_and_is_reported_as_it_is: ") for one in found)
    points = tmp_path / "site" / "writ_acme-0.1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().partition("[writ.conformance]")[0])
    done = writ(tmp_path, "plugin", "check", "writ-acme", path=path)
    assert done.returncode == 0
    assert "the suite was not run on backend acme: no entry point writ.conformance" in done.stderr


@pytest.mark.parametrize("name", some(["service", "ssh", "Acme", "a", "class", "acme-x", "../x"], "service", "../x"))
def test_a_name_that_is_taken_or_none_is_refused(tmp_path: Path, name: str) -> None:
    done = writ(tmp_path, "plugin", "new", name)
    assert done.returncode == 2, done
    assert list(tmp_path.iterdir()) == []


def test_skeleton_overwrites_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(Conflict, match="not empty"):
        write_skeleton(tmp_path, "acme")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
