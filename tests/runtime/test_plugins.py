"""Operations and handlers of plugins: all are found, and nothing is there twice."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.plugins import EVALUATORS, HANDLERS, OPERATIONS
from writ_runtime.plugins import loading
from writ_runtime.plugins.entry_points import load_backends, load_catalogue, load_evaluators, load_handlers

TESTING = EntryPoint("one", "writ_testing.plugin.operations:OPERATIONS", OPERATIONS)
AGAIN = EntryPoint("two", "writ_testing.plugin.operations:OPERATIONS", OPERATIONS)
BUILT = EntryPoint("three", "writ_contracts.catalogue:BUILT_IN", OPERATIONS)


def test_the_catalogue_has_the_built_in_operations_and_those_of_plugins() -> None:
    catalogue = load_catalogue([TESTING])
    assert set(catalogue) == {operation.name for operation in BUILT_IN} | {
        "test_noop",
        "test_count",
        "test_sleep",
        "test_secret",
        "test_fail",
    }


def test_installed_plugin_is_found() -> None:
    assert "test_noop" in load_catalogue()
    assert "test_noop" in load_handlers()
    assert list(load_backends()) == ["fake"]
    assert list(load_catalogue(evaluators=True).evaluators) == ["test_share"]
    assert load_catalogue().evaluators == {}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([TESTING, AGAIN], "operation test_noop comes from entry point one and from entry point two"),
        ([BUILT], "operation service_status comes from Writ itself and from entry point three"),
    ],
)
def test_an_operation_that_two_bring_names_both(found: list[EntryPoint], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_catalogue(found)


def test_a_handler_that_two_bring_names_both() -> None:
    one = EntryPoint("one", "writ_testing.plugin.handlers:HANDLERS", HANDLERS)
    with pytest.raises(ConfigError, match="handler of test_noop comes from entry point one and from entry point two"):
        load_handlers([one, EntryPoint("two", one.value, HANDLERS)])


@pytest.mark.parametrize(
    "value", ["no.such.module:X", "writ_testing.plugin.operations:NONE", "writ_testing.plugin.operations:Noop"]
)
def test_a_plugin_that_brings_nothing_good_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="bad"):
        load_catalogue([EntryPoint("bad", value, OPERATIONS)])
    with pytest.raises(ConfigError, match="bad"):
        load_handlers([EntryPoint("bad", value, HANDLERS)])


def test_operation_with_a_parameter_that_is_an_option_of_every_request_is_refused_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = written(
        tmp_path,
        monkeypatch,
        """
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import Output, Parameters

class Waiting(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: int
    dry_run: bool = False

OPERATIONS = (
    Operation(
        name="acme_wait", summary="Wait.", parameters=Waiting, output=Output, risk=Risk.READ, backends=("local",)
    ),
)
""",
    )
    with pytest.raises(ConfigError, match="bad: operation acme_wait: every request has an option dry_run, wait; give"):
        load_catalogue([EntryPoint("bad", f"{module}:OPERATIONS", OPERATIONS)])


def test_control_operation_of_a_plugin_is_refused_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = written(
        tmp_path,
        monkeypatch,
        """
from msgspec.structs import replace
from writ_contracts.catalogue import BUILT_IN
[LIFT] = [one for one in BUILT_IN if one.name == "stop_lift"]
OPERATIONS = (replace(LIFT, name="acme_lift", own_signature=False),)
""",
    )
    with pytest.raises(ConfigError, match="bad: operation acme_lift: a plugin cannot define a control operation"):
        load_catalogue([EntryPoint("bad", f"{module}:OPERATIONS", OPERATIONS)])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(3)", r"SystemExit: 3"),
        ("raise RuntimeError('no database')", r"RuntimeError: no database"),
    ],
)
def test_plugin_that_ends_its_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    module = written(tmp_path, monkeypatch, body)
    with pytest.raises(ConfigError, match=rf"entry point bad: {module}:OPERATIONS cannot be loaded \({message}\)"):
        load_catalogue([EntryPoint("bad", f"{module}:OPERATIONS", OPERATIONS)])


def test_what_a_plugin_prints_at_its_import_is_not_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = written(tmp_path, monkeypatch, "print('hello')\nOPERATIONS = ()")
    load_catalogue([EntryPoint("loud", f"{module}:OPERATIONS", OPERATIONS)])
    assert capsys.readouterr() == ("", "hello\n")


def test_plugin_that_takes_long_to_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "SLOW_SECONDS", 0.01)
    module = written(tmp_path, monkeypatch, "import time; time.sleep(0.5)\nOPERATIONS = ()")
    load_catalogue([EntryPoint("slow", f"{module}:OPERATIONS", OPERATIONS)])
    report = f"writ: entry point slow: {module}:OPERATIONS has been loading for 0.01 s; waiting for it\n"
    assert capsys.readouterr().err == report


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Return the name of a new module with this text."""
    name = f"a_plugin_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_an_evaluator_that_two_bring_or_that_is_none_names_its_source() -> None:
    one = EntryPoint("share", "writ_testing.plugin.evaluators:SHARE", EVALUATORS)
    with pytest.raises(ConfigError, match="evaluator share comes from entry point share and from entry point share"):
        load_evaluators([one, one])
    with pytest.raises(ConfigError, match=r"share: writ_testing\.plugin\.evaluators:Share is not of type Evaluator"):
        load_evaluators([EntryPoint("share", "writ_testing.plugin.evaluators:Share", EVALUATORS)])


def test_the_source_of_an_installed_plugin_is_its_distribution() -> None:
    (installed,) = [entry for entry in entry_points(group=OPERATIONS) if entry.name == "testing"]
    with pytest.raises(ConfigError, match=r"test_noop comes from writ-example-plugin 0\.1\.0 and from entry point two"):
        load_catalogue([installed, AGAIN])
