"""Conversion of a policy in the older format allows no more than before."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, loaded

from writ_documents import yaml_file
from writ_rules.conversion import converted

OLD: dict[str, Any] = {
    "default_validation_mode": "strict",
    "enable_dry_run": False,
    "lockout_periods": [],
    "rules": [
        {"name": "none", "target_pattern": ".*", "allowed_operations": [], "operation_tier": "observe"},
        {
            "name": "containers",
            "description": "of the web servers",
            "target_pattern": "web-.*",
            "allowed_operations": ["start", "stop_container", "container_restart", "explode"],
            "required_capabilities": ["container:write"],
            "parameter_constraints": {
                "container_name": {"type": "string", "validation_type": "container_name", "pattern": "^[a-z]+$"},
                "timeout": {"type": "int", "min_value": 1, "max_value": 300},
                "reason": {"type": "string"},
            },
            "requires_approval": True,
            "dry_run_supported": True,
        },
        {
            "name": "files",
            "target_pattern": "(a|b)x",
            "allowed_operations": ["read"],
            "parameter_constraints": {"path": {"pattern": "/srv/.*"}},
        },
        {
            "name": "logs",
            "target_pattern": "log-1",
            "allowed_operations": ["read"],
            "required_capabilities": ["file:read"],
            "parameter_constraints": {"path": {"pattern": "/srv/.*"}},
        },
        {"name": "odd", "allowed_operations": ["network_status"], "conditions": ["weekend"]},
    ],
}


def test_an_older_policy_is_converted_with_a_note_for_each_part_left_out() -> None:
    found = converted(OLD, CATALOGUE, "older")
    assert found.notes == [
        "rule 'none' is left out: it allows nothing, and what no rule allows is denied",
        "rule 'containers': there is no operation for 'explode'; it is left out",
        "rule 'files': there is no operation for 'read'; it is left out",
        "rule 'files' is left out: target_pattern '(a|b)x' cannot be expressed",
        "rule 'odd' is left out: 'conditions' cannot be expressed",
        "'default_validation_mode' is left out: set SYSTEMMANAGER_POLICY_MODE (strict or permissive) in its place",
    ]
    containers, logs = found.policies["policies"]["global_policies"]
    assert containers == {
        "name": "containers",
        "operations": ["container_start", "container_stop", "container_restart"],
        "allowed": True,
        "targets": ["web-*"],
        "description": "of the web servers",
        "requires_approval": True,
        "parameter_constraints": {
            "container_name": {"type": "string", "pattern": "^[a-z]+$"},
            "timeout": {"type": "int", "min": 1, "max": 300},
        },
    }
    assert (logs["operations"], logs["parameter_constraints"]) == (["file_read"], {"file_path": {"pattern": "/srv/.*"}})
    assert loaded(yaml_file.dump(found.policies)).enable_dry_run is False


def test_older_names_of_keys_are_renamed_below_policies() -> None:
    data = {"policies": {"global_policies": [{"name": "a", "parameter_constraints": {"timeout": {"max_value": 3}}}]}}
    found = converted(data, CATALOGUE, "x").policies
    assert found["policies"]["global_policies"][0]["parameter_constraints"] == {"timeout": {"max": 3}}


@pytest.mark.parametrize("data", [[], {"policy": {}}, {"rules": [{"name": "d", "action": "deny"}]}])
def test_older_policy_that_may_deny_or_is_malformed_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"may deny|is no policy of an older format"):
        converted(data, CATALOGUE, "x")
