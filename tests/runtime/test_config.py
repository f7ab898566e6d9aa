"""Configuration: typed, from the environment alone, every mistake named by its variable and no value shown."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from writ_contracts.errors import ConfigError
from writ_runtime.config import ServiceConfig, Variable, describe, env, load

REQUIRED = {"NATS_URL": "nats://127.0.0.1:4222", "WRIT_KEY_FILE": "keys/policy.seed"}


class Config(ServiceConfig, frozen=True, kw_only=True):
    slots: Annotated[int, Meta(ge=1, le=64), env("WRIT_SLOTS", "operations at once")] = 4
    dry: Annotated[bool, env("WRIT_DRY", "nothing changes")] = False
    lease: Annotated[float, env("WRIT_LEASE", "seconds")] = 10.0
    mode: Annotated[Literal["strict", "permissive"], env("WRIT_MODE", "how strict")] = "strict"


def test_values_get_their_types() -> None:
    config = load(
        Config, {**REQUIRED, "WRIT_SLOTS": "8", "WRIT_DRY": "true", "WRIT_LEASE": "2.5", "WRIT_TLS_CA": "ca.pem"}
    )
    assert (config.slots, config.dry, config.lease, config.tls_ca) == (8, True, 2.5, "ca.pem")
    assert config.key_file == Path("keys/policy.seed")


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(Config, {**REQUIRED, "WRIT_SLOTS": ""}).slots == 4


def test_unrelated_variables_are_of_no_concern() -> None:
    assert load(Config, {**REQUIRED, "SLOTS": "9", "HOME": "/root"}) == load(Config, REQUIRED)


def test_all_mistakes_are_reported_at_once_by_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            Config,
            {"NATS_URL": "x", "WRIT_SLOTS": "many", "WRIT_DRY": "perhaps", "WRIT_MODE": "lax", "WRIT_LEASE": "1s"},
        )
    problems = caught.value.problems
    assert [problem.split(" ")[0].rstrip(":") for problem in problems] == [
        "WRIT_KEY_FILE",
        "WRIT_SLOTS",
        "WRIT_DRY",
        "WRIT_LEASE",
        "WRIT_MODE",
    ]
    assert problems[0] == "WRIT_KEY_FILE is not set (this process's own nkey seed, mode 0600)"


@pytest.mark.parametrize("value", ["0", "65", "-1", "1e9"])
def test_constraints_hold(value: str) -> None:
    with pytest.raises(ConfigError, match="WRIT_SLOTS: expected"):
        load(Config, {**REQUIRED, "WRIT_SLOTS": value})


@pytest.mark.parametrize("value", ["inf", "-Infinity", "nan", "1e400"])
def test_number_must_be_finite(value: str) -> None:
    """JSON has no other: a report with one could not be read again."""
    with pytest.raises(ConfigError, match="WRIT_LEASE: "):
        load(Config, {**REQUIRED, "WRIT_LEASE": value})


def test_error_of_a_variable_lists_the_possible_values() -> None:
    wrong = {"WRIT_MODE": "STRICT", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}
    with pytest.raises(ConfigError) as caught:
        load(Config, {**REQUIRED, **wrong})
    assert set(caught.value.problems) == {
        "WRIT_MODE: must be one of strict, permissive",
        "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// or https:// and a host",
    }


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WRIT_LEASE", "1s", "expected a number without a unit (seconds), such as 10"),
        ("WRIT_LEASE", "inf", "expected a finite number (seconds), such as 10"),
        ("WRIT_SLOTS", "many", "expected a whole number (operations at once), such as 4"),
        ("WRIT_SLOTS", "1.5", "expected a whole number (operations at once), such as 4"),
        ("WRIT_SLOTS", "65", "expected a whole number <= 64 (operations at once), such as 4"),
        ("WRIT_DRY", "perhaps", "expected true or false (nothing changes), such as false"),
        ("WRIT_HEALTH_PORT", "http", "expected a whole number (their port; 0 takes any free one), such as 0"),
    ],
)
def test_error_of_a_number_has_its_unit_and_an_example(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Config, {**REQUIRED, name: value})
    assert caught.value.problems == (f"{name}: {problem}",)


def test_errors_never_show_a_value() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Config, {**REQUIRED, "WRIT_SLOTS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_documentation_has_name_type_default_and_meaning() -> None:
    variables = {variable.name: variable for variable in describe(Config)}
    assert variables["WRIT_SLOTS"] == Variable("WRIT_SLOTS", "integer", "4", "operations at once")
    assert variables["WRIT_MODE"] == Variable("WRIT_MODE", "strict, permissive", "strict", "how strict")
    assert variables["WRIT_TLS_CA"].default == ""
    assert variables["NATS_URL"].default is None
    assert variables["WRIT_DRY"].default == "false"
    assert variables["WRIT_RUN_FILE"].type == "path"


def test_a_field_without_a_variable_is_a_defect() -> None:
    class Forgotten(Struct, frozen=True):
        name: str

    with pytest.raises(TypeError, match=r"Forgotten\.name names no environment variable"):
        load(Forgotten, {})
