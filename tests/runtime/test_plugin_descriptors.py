"""Descriptors of plugins: checked before anything of them is used, and read without importing their handlers."""

import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from writ_contracts.backends import EVERY
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.operations import offers
from writ_contracts.plugins import WRIT_PLUGIN_API, Plugin
from writ_runtime.plugins.descriptors import RESERVED, installed_plugins
from writ_runtime.plugins.entry_points import load_catalogue

DESCRIPTOR = """
from writ_contracts.plugins import Plugin
PLUGIN = Plugin(api={api}, prefixes={prefixes}, serves={serves})
"""
HANDLERS = 'raise RuntimeError("handlers were imported")\nHANDLERS = {}\ndef backend(): return None\n'


def made(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: str = "",
    *,
    api: int = WRIT_PLUGIN_API,
    serves: str = "{}",
    prefixes: str = '("acme",)',
    described: bool = True,
) -> list[Distribution]:
    """A package on the path, with these entry points."""
    name = f"acme_{folder.name[-6:].replace('-', '_')}{len(parts)}_{api}"
    package, info = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "descriptor.py").write_text(DESCRIPTOR.format(api=api, serves=serves, prefixes=prefixes))
    (package / "handlers.py").write_text(HANDLERS)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    head = f"[writ.plugin]\nacme = {name}.descriptor:PLUGIN\n" if described else ""
    (info / "entry_points.txt").write_text(head + parts.replace("PKG", name))
    monkeypatch.syspath_prepend(str(folder))
    return [PathDistribution(info)]


def test_the_example_is_listed_with_its_parts() -> None:
    (one,) = installed_plugins()
    assert (one.source, one.plugin.prefixes) == ("writ-example-plugin 0.1.0", ("test", "fake"))
    assert set(one.parts) == {"writ.operations", "writ.handlers", "writ.hostops", "writ.backends", "writ.evaluators"}
    assert len(one.digest) == 64


def test_a_listing_imports_no_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "[writ.handlers]\nacme = PKG.handlers:HANDLERS\n[writ.backends]\nacme = PKG.handlers:backend\n"
    (one,) = installed_plugins(made(tmp_path, monkeypatch, parts))
    assert one.parts == {"writ.handlers": ["acme"], "writ.backends": ["acme"]}


def test_another_api_is_named_and_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="was written for plugin API 7, and this Writ has plugin API 1"):
        installed_plugins(made(tmp_path, monkeypatch, api=7))


def test_parts_without_a_descriptor_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, monkeypatch, "[writ.handlers]\nacme = PKG.handlers:HANDLERS\n", described=False)
    with pytest.raises(ConfigError, match=r"needs exactly one entry point writ\.plugin, not 0"):
        installed_plugins(found)


@pytest.mark.parametrize("group", ["writ.backends", "writ.evaluators"])
def test_a_name_that_is_not_the_plugins_own_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    found = made(tmp_path, monkeypatch, f"[{group}]\ndocker = PKG.handlers:backend\n")
    with pytest.raises(ConfigError, match=r"docker must begin with its prefix \(acme\)"):
        installed_plugins(found)


def test_prefix_of_writs_own_names_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, monkeypatch, prefixes='("acme", "service", "docker", "writ", "policy")')
    with pytest.raises(ConfigError, match="Writ's own names have the prefix docker, policy, service, writ: give"):
        installed_plugins(found)


def test_every_name_of_writ_has_a_reserved_prefix() -> None:
    writ = Plugin(api=1, prefixes=tuple(RESERVED))
    names = [*(operation.name for operation in BUILT_IN), *EVERY, WRIT_TARGET]
    assert [name for name in names if not writ.owns(name)] == []


def test_a_plugin_serves_by_its_own_backends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, monkeypatch, serves='{"local": ("service_stop",)}')
    with pytest.raises(ConfigError, match="local must begin with its prefix"):
        installed_plugins(found)


SERVED = """
from writ_contracts.operations import offers
from writ_runtime.plugins.entry_points import load_catalogue
catalogue = load_catalogue()
print(offers(None, "acme", catalogue["container_start"]), offers(None, "acme", catalogue["container_stop"]))
"""


def test_a_third_backend_serves_built_in_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "[writ.backends]\nacme = PKG.handlers:backend\n"
    made(tmp_path, monkeypatch, parts, serves='{"acme": ("container_start",)}')
    assert not offers(None, "acme", load_catalogue([])["container_start"])
    assert run(SERVED, tmp_path) == "True False"


@pytest.mark.parametrize(
    ("serves", "problem"),
    [
        ('{"acme": ("container_fly",)}', "serves container_fly, and no built-in operation has that name"),
        ('{"acme": ("stop_set",)}', "serves stop_set, which executors carry out"),
    ],
)
def test_operation_without_a_backend_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serves: str, problem: str
) -> None:
    made(tmp_path, monkeypatch, "[writ.backends]\nacme = PKG.handlers:backend\n", serves=serves)
    assert problem in run(SERVED, tmp_path)


def test_plugin_owns_names_by_whole_prefixes() -> None:
    plugin = Plugin(api=1, prefixes=("acme",))
    assert [name for name in ("acme", "acme_put", "acmeput", "put_acme") if plugin.owns(name)] == ["acme", "acme_put"]


def run(code: str, folder: Path) -> str:
    """Return the output of a process with the package on its path; after a failure only the last line."""
    environ = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
