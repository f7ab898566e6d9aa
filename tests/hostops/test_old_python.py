"""hostops is sent to hosts with older Pythons: it runs in a real Python 3.9 as in ours, and imports nothing of Writ."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import named
from tests.hostops.fake_systemd import FakeSystemd
from tests.hostops.old_python import ask_old, carried, old_hostops
from tests.hostops.test_injection import samples

import writ_hostops
from writ_hostops.listings import LISTINGS
from writ_testing.each_case import each_case

FOLDER = Path(writ_hostops.__file__).parent
SOURCES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py"))
LOOKS = [(name, action) for name, actions in writ_hostops.HANDLERS.items() for action in actions if action != "run"]
LOOKS += [(name, "listing") for name in LISTINGS]
READS = [(name, "run") for name, actions in writ_hostops.HANDLERS.items() if "preview" not in actions]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files sent to a host, in one folder for all tests, so the old Python compiles them once."""
    return carried(tmp_path_factory.mktemp("old") / "carried")


@each_case("source", SOURCES)
def test_the_source_is_python_3_9_and_needs_little(source: str) -> None:
    tree = ast.parse((FOLDER / source).read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {*sys.stdlib_module_names, "writ_hostops", "jeepney"}
    assert "jeepney" not in imported or source in ("systemd/replies.py", "systemd/bus.py")


def known(result: dict[str, Any]) -> dict[str, Any]:
    """Return the common part of two runs in a row, since containers come and go meanwhile."""
    passing = ("listening", "names", "routes", "fastest_ms", "average_ms", "slowest_ms")
    output = {name: value for name, value in result["output"].items() if name not in passing}
    if "interfaces" in output:
        output["interfaces"] = [one for one in output["interfaces"] if one["name"] == "lo"]
    return {**result, "output": output}


@pytest.fixture
def old(tmp_path: Path, systemd: FakeSystemd, sent: Path) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    with old_hostops(sent, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={tmp_path / systemd.path}") as ask:
        yield ask


@pytest.fixture
def host(srv: Path, tmp_path: Path, systemd: FakeSystemd) -> Path:
    systemd.add("nginx.service")
    (srv / "data").mkdir()
    (srv / "a").write_text("a")
    (tmp_path / "password").write_text("x")
    return tmp_path


@each_case(("number", "case"), enumerate(LOOKS + READS))
def test_reads_in_python_3_9_return_the_same_as_in_this_python(
    host: Path, srv: Path, old: Callable[[dict[str, Any]], dict[str, Any]], number: int, case: tuple[str, str]
) -> None:
    operation, action = case
    request = {
        "id": named(number),
        "action": action,
        "operation": operation,
        "parameters": {name: value for name, value in samples(srv).get(operation, {}).items() if value},
        "target": {
            "file_roots": [str(srv)],
            "scan_networks": ["127.0.0.0/8"],
            "backup": {"repository": str(host / "repo"), "password_file": str(host / "password")},
        },
    }
    observed = old(request)
    assert observed["code"] != "internal"
    ours = writ_hostops.run(request)
    assert observed["output"].keys() == ours["output"].keys()
    assert known(observed) == known(ours)


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_service_is_changed_by_an_old_python(sent: Path, tmp_path: Path, systemd: FakeSystemd, verb: str) -> None:
    systemd.add("nginx.service", active="inactive" if verb == "start" else "active")
    request = {
        "id": named(1),
        "action": "run",
        "operation": f"service_{verb}",
        "parameters": {"service_name": "nginx"},
        "target": {"state_dir": str(tmp_path / "state")},
    }
    address = f"unix:path={tmp_path / systemd.path}"
    result = ask_old(request, sent, DBUS_SYSTEM_BUS_ADDRESS=address)
    assert (result["outcome"], result["effect"]) == ("succeeded", "done")
    assert systemd.units["nginx.service"].active == ("inactive" if verb == "stop" else "active")
    again = ask_old(request, sent, DBUS_SYSTEM_BUS_ADDRESS=address)
    assert (again["outcome"], again["code"]) == ("succeeded", "already_seen")
