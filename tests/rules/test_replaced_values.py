"""Something of another sort in place of each value of a file, one at a time: it loads or is refused with places."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.rules.asking import CATALOGUE

from writ_documents import readers, yaml_file
from writ_documents.document import FileErrors
from writ_rules.loading import compile_document
from writ_rules.suite_runs import read_suite
from writ_rules.validation import validate
from writ_testing.exhaustive import some

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "policies" / "examples"
OTHERS: list[Any] = [None, "word", 7, [], ["word"], [["word"]], {}, {"word": "word"}, {"word": ["word"]}]
FEW: list[Any] = [None, "word"]
POLICY = """
policies:
  version: v2
  name: rich
  deny_by_default: true
  effective_from: "2020-01-01"
  expires_at: "2090-01-01"
  maintenance_windows:
    - {name: w, start_time: "2026-01-04T02:00", end_time: "2026-01-04T04:00", recurrence: weekly, days_of_week: [0],
       timezone: Europe/Berlin}
    - {name: m, start_time: "2026-01-31T22:00", end_time: "2026-02-01T04:00", recurrence: monthly, day_of_month: 31}
  global_policies:
    - name: restarts
      operations: [service_restart, service_stop]
      allowed: true
      users: [alice]
      user_roles: [operator]
      principal_kinds: [human, agent]
      target_roles: [production]
      targets: ["prod-*"]
      target_tags: [web]
      effective_from: "2026-01-01"
      target_attributes: {criticality: [high, highest], owner: {type: string, pattern: "pay.*", min_length: 2}}
      scans: [{scanner: trivy, severity: high, present: false, max_age: 24h}]
      parameter_constraints:
        service_name: {type: string, max_length: 64, pattern: "[a-z-]+", allowlist_source: list_services, max_age: 5m}
        timeout: {type: int, min: 1, max: 300, default: 60, allowed_values: [60, 30], denied_values: [31]}
      time_restrictions:
        - {start_time: "22:00", end_time: "06:00", days_of_week: [1, 2], timezone: Europe/Berlin, from: "2026-01-01",
           until: "2026-12-31"}
      maintenance_windows_only: true
      approval: {approvers: [approver], quorum: 1, timeout: 30m, steps: [{approvers: [lead], quorum: 1}]}
      operation_timeout: 100
      max_concurrent: 2
    - {name: stops, operations: [service_stop], allowed: false, emergency_overridable: true}
  role_policies:
    gateway:
      - {name: gateways, operations: [service_restart], allowed: true, requires_approval: true, approval_timeout: 5}
  emergency_policies:
    - {name: emergencies, operations: [service_restart], allowed: true, user_roles: [operator]}
"""


def places(data: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield keys
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*keys, key))


def replaced(data: Any, others: list[Any] = OTHERS) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each place, and the whole document with another value there."""
    for keys in places(data):
        for other in others:
            made = {"all": copy.deepcopy(data)}
            holder, last = made, "all"
            for key in keys:
                holder, last = holder[last], key
            holder[last] = other
            yield keys, made["all"]


def loads(read: Callable[[], object]) -> bool:
    """Return false if it is refused with places; other exceptions are raised."""
    try:
        read()
    except FileErrors as error:
        return not error.found
    return True


@pytest.mark.parametrize("others", some([FEW, OTHERS], FEW), ids=["few", "all"])
def test_a_policy_loads_or_is_refused_with_places(others: list[Any]) -> None:
    reported = {True: 0, False: 0}
    whole = yaml_file.parse(POLICY.encode(), "policy.yaml")
    assert loads(lambda: compile_document(whole, CATALOGUE, "permissive"))
    for keys, data in replaced(whole.data, others):
        document = yaml_file.parse(json.dumps(data).encode(), f"policy with another {keys}")
        valid = validate(document, CATALOGUE, "permissive").valid
        assert loads(partial(compile_document, document, CATALOGUE, "permissive")) == valid, keys
        reported[valid] += 1
    assert min(reported.values()) > 50


@pytest.mark.parametrize("name", ["inventory", "principals", "agents"])
def test_list_with_a_replaced_value_loads_or_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    read = {"inventory": readers.read_inventory, "principals": readers.read_people, "agents": readers.read_agents}[name]
    data = yaml_file.read(EXAMPLES / f"{name}.yaml").data
    for _, changed in replaced(data):
        path.write_text(json.dumps(changed))
        loads(lambda: read(path))


def test_suite_with_a_replaced_value_loads_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite_test.yaml"
    data = yaml_file.read(ROOT / "policies" / "development-flexible_test.yaml").data
    named = {key: str(ROOT / "policies" / data[key]) for key in ("policy", "inventory", "principals")}
    short = {**data, **named, "cases": data["cases"][:1]}
    path.write_text(json.dumps(short))
    assert loads(lambda: read_suite(path, CATALOGUE, "permissive"))
    for _, changed in replaced(short):
        path.write_text(json.dumps(changed))
        loads(lambda: read_suite(path, CATALOGUE, "permissive"))
