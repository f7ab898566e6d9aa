"""The catalogue equals the table of the design, operation by operation, and its parameters accept the right values."""

import re
from typing import Any

import pytest
from msgspec import structs

from writ_contracts import parameters as params
from writ_contracts.catalogue import BUILT_IN, CONTROL
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue, Operation
from writ_contracts.parameters import Class
from writ_testing.each_case import each_case

CATALOGUE = Catalogue(BUILT_IN)
HOSTS, ENGINES, ALL = ("local", "ssh"), ("local", "ssh", "docker"), ("local", "ssh", "docker", "proxmox")

# name: risk, idempotent, default and maximum timeout, backends, whether an agent can tell that it took effect
TABLE: dict[str, tuple[str, bool, int, int, tuple[str, ...], bool]] = {
    "service_status": ("read", True, 10, 60, HOSTS, False),
    "service_start": ("change", True, 30, 300, HOSTS, True),
    "service_stop": ("change", True, 30, 300, HOSTS, True),
    "service_restart": ("change", False, 60, 300, HOSTS, True),
    "container_create": ("change", False, 180, 900, ALL, True),
    "container_delete": ("admin", False, 60, 300, ALL, True),
    "container_start": ("change", True, 60, 300, ALL, True),
    "container_stop": ("change", True, 60, 300, ALL, True),
    "container_restart": ("change", False, 90, 300, ALL, True),
    "container_inspect": ("read", True, 30, 60, ALL, False),
    "stack_deploy": ("change", True, 300, 1800, ENGINES, True),
    "stack_update": ("change", True, 300, 1800, ENGINES, True),
    "stack_remove": ("admin", True, 180, 900, ENGINES, True),
    "backup_create": ("change", False, 1800, 21600, ALL, True),
    "backup_list": ("read", True, 60, 300, ALL, False),
    "backup_restore": ("admin", False, 3600, 43200, ALL, True),
    "backup_delete": ("admin", True, 300, 3600, ALL, True),
    "snapshot_create": ("change", False, 120, 900, ALL, True),
    "snapshot_list": ("read", True, 30, 60, ALL, False),
    "snapshot_restore": ("admin", False, 180, 1800, ALL, True),
    "snapshot_delete": ("admin", True, 60, 900, ALL, True),
    "file_read": ("read", True, 30, 60, HOSTS, False),
    "file_write": ("change", True, 60, 300, HOSTS, True),
    "file_copy": ("change", True, 60, 900, HOSTS, True),
    "file_delete": ("admin", True, 30, 60, HOSTS, True),
    "network_status": ("read", True, 15, 60, ENGINES, False),
    "network_test": ("read", True, 30, 120, HOSTS, False),
    "network_scan": ("read", False, 120, 900, HOSTS, False),
    "package_list": ("read", True, 60, 120, HOSTS, False),
    "package_update": ("change", True, 300, 3600, HOSTS, True),
    "package_install": ("change", True, 300, 3600, HOSTS, True),
    "package_remove": ("admin", True, 180, 900, HOSTS, True),
}
PROXMOX: dict[str, tuple[str, bool, int, int, tuple[str, ...], bool]] = {
    "guest_create": ("change", False, 600, 7200, ("proxmox",), True),
    "guest_delete": ("admin", False, 180, 1800, ("proxmox",), True),
    "guest_stop": ("change", True, 120, 1800, ("proxmox",), True),
    "guest_list": ("read", True, 30, 60, ("proxmox",), False),
    "guest_migrate": ("change", True, 1800, 21600, ("proxmox",), True),
    "guest_resize": ("change", True, 120, 900, ("proxmox",), True),
    "node_status": ("read", True, 30, 60, ("proxmox",), False),
    "storage_status": ("read", True, 30, 60, ("proxmox",), False),
    "task_log": ("read", True, 30, 60, ("proxmox",), False),
}
TABLE |= PROXMOX
TABLE |= {
    "container_update": ("change", False, 300, 900, ENGINES, True),
    "image_pull": ("change", True, 600, 3600, ENGINES, True),
    "container_list": ("read", True, 30, 60, ENGINES, False),
    "container_logs": ("read", True, 30, 60, ENGINES, False),
    "stack_status": ("read", True, 30, 60, ENGINES, False),
}
"""On container engines alone."""
# name: risk, whether the principal's own signature is demanded by definition
CONTROLS: dict[str, tuple[str, bool]] = {
    "operation_cancel": ("change", True),
    "audit_read": ("read", False),
    "backend_test": ("read", False),
    "approval_decide": ("change", True),
    "policy_publish": ("admin", True),
    "policy_rollback": ("admin", True),
    "emergency_declare": ("change", True),
    "emergency_confirm": ("change", True),
    "emergency_review": ("change", True),
    "stop_set": ("change", True),
    "stop_lift": ("admin", True),
    "journal_archive": ("admin", True),
    "principal_manage": ("admin", True),
    "window_request": ("change", True),
    "window_end": ("change", True),
    "session_open": ("change", True),
    "session_end": ("change", True),
}
SECRET = {
    ("container_create", "command"),
    ("container_create", "env"),
    ("container_create", "labels"),
    ("container_create", "health_command"),
    ("stack_deploy", "compose"),
    ("stack_deploy", "env"),
    ("stack_update", "compose"),
    ("stack_update", "env"),
    ("file_write", "content"),
}
SENSITIVE = {("policy_publish", "document"), ("file_write", "if_digest"), ("file_delete", "if_digest")}
PUBLIC_DIGESTS = {
    "image_digest": "an image is public at its registry, and names its id",
    "former_image_digest": "as `image_digest`",
    "repo_digests": "as `image_digest`",
    "compose_digest": "it is of the public part of the stack",
    "decision_digest": "a decision is on record",
    "journal_archive.digest": "it is of the manifest of an archive, whose events are on record",
}
DIGESTS: dict[tuple[str, str], Class] = {
    # Of files' contents, which may be short secrets.
    ("file_read", "digest"): Class.KEYED,
    **{(name, "digest_before"): Class.KEYED for name in ("file_write", "file_copy", "file_delete")},
    **{(name, "digest_after"): Class.KEYED for name in ("file_write", "file_copy")},
    ("file_write", "if_digest"): Class.SENSITIVE,
    ("file_delete", "if_digest"): Class.SENSITIVE,
}
SECRET_OUTPUT = {
    *((name, field) for name in ("container_inspect",) for field in ("env", "command", "labels")),
    *((name, "log") for name in ("stack_deploy", "stack_update", "stack_remove", "backup_create", "backup_restore")),
    *((name, "log") for name in ("snapshot_create", "snapshot_restore")),
    *((name, "log") for name in ("package_update", "package_install", "package_remove")),
    *((name, "log") for name in ("container_create", "container_start", "container_stop", "container_restart")),
    ("container_inspect", "log"),
    ("container_update", "log"),
    ("container_logs", "log"),
    ("file_read", "content"),
    ("file_write", "diff"),
    ("file_copy", "diff"),
    ("network_test", "detail"),
    *((name, "log") for name in ("guest_create", "guest_stop", "guest_migrate")),
    ("task_log", "log"),
}
every_operation = each_case("operation", BUILT_IN, ids=lambda operation: operation.name)


def maximum(operation: Operation) -> int:
    return int(operation.schema()["$defs"][operation.parameters.__name__]["properties"]["timeout"]["maximum"])


def test_operations_of_the_catalogue_are_those_of_the_table() -> None:
    assert set(CATALOGUE) == set(TABLE) | set(CONTROLS)
    assert {operation.name for operation in CONTROL} == set(CONTROLS)


@each_case("name", TABLE)
def test_operation_has_the_properties_in_the_table(name: str) -> None:
    one = CATALOGUE[name]
    row = (one.risk.value, one.idempotent, one.default_timeout, maximum(one), one.backends, one.probe)
    assert row == TABLE[name]
    assert not one.control
    assert not one.own_signature
    assert one.preview is not one.read_only or name == "network_scan"


@each_case("name", CONTROLS)
def test_control_operation_has_the_properties_in_the_table(name: str) -> None:
    one = CATALOGUE[name]
    assert (one.risk.value, one.own_signature) == CONTROLS[name]
    assert one.control
    assert one.backends == ("writ",)
    assert not one.baseline


def test_parameters_that_are_not_public_are_listed() -> None:
    hidden = {
        (operation.name, name): kind
        for operation in BUILT_IN
        for name, kind in params.classes(operation.parameters).items()
        if kind is not Class.PUBLIC
    }
    assert {pair for pair, kind in hidden.items() if kind is Class.SECRET} == SECRET
    assert {pair for pair, kind in hidden.items() if kind is Class.SENSITIVE} == SENSITIVE


def test_outputs_that_are_not_public_are_listed() -> None:
    hidden = {
        (operation.name, name)
        for operation in BUILT_IN
        for name, kind in params.classes(operation.output).items()
        if kind is not Class.PUBLIC
    }
    assert hidden == SECRET_OUTPUT | {pair for pair, kind in DIGESTS.items() if kind is Class.KEYED}


def test_digest_is_keyed_unless_its_source_is_public() -> None:
    found = {
        (operation.name, name): kind
        for operation in BUILT_IN
        for struct in (operation.parameters, operation.output)
        for name, kind in params.classes(struct).items()
        if re.search("digest|hash|checksum|fingerprint", name)
    }
    public = {f"{where}.{name}" for (where, name), kind in found.items() if kind is Class.PUBLIC}
    assert {one for one in public if not {one, one.partition(".")[2]} & PUBLIC_DIGESTS.keys()} == set()
    assert {pair: kind for pair, kind in found.items() if kind is not Class.PUBLIC} == DIGESTS


@every_operation
def test_operation_has_a_schema_a_summary_and_a_timeout(operation: Operation) -> None:
    schema = operation.schema()["$defs"][operation.parameters.__name__]
    assert schema["additionalProperties"] is False
    assert operation.summary.endswith(".")
    assert 1 <= operation.default_timeout <= maximum(operation)


@every_operation
def test_unknown_parameter_is_refused(operation: Operation) -> None:
    with pytest.raises(Invalid, match=r"no parameter 'privileged'|needs "):
        operation.check({"privileged": True})


@every_operation
def test_text_is_bounded_and_matched_to_its_end(operation: Operation) -> None:
    for name, kind in operation.schema()["$defs"][operation.parameters.__name__]["properties"].items():
        for part in texts(kind):
            assert part.get("maxLength") or "{" in part.get("pattern", ""), name
            assert part.get("pattern", "(?!\\n)$").endswith("(?!\\n)$"), name


def texts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of free texts in a schema."""
    found = [schema] if schema.get("type") == "string" and "enum" not in schema else []
    for part in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        found += texts(part) if isinstance(part, dict) else []
    return found


def test_operations_with_an_early_read_are_listed() -> None:
    assert {name for name, one in CATALOGUE.items() if one.ahead} == {"service_status", "file_read"}


@pytest.mark.parametrize("name", ["service_restart", "file_write", "stop_set"])
def test_changing_operation_has_no_early_read(name: str) -> None:
    with pytest.raises(Invalid, match=f"operation {name} cannot be read ahead"):
        Catalogue([structs.replace(CATALOGUE[name], ahead=True)])


@pytest.mark.parametrize("wrong", [{"parameters": CATALOGUE["file_write"].parameters}, {"baseline": True}])
def test_operation_with_a_secret_parameter_or_a_baseline_has_no_early_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="cannot be read ahead"):
        Catalogue([structs.replace(CATALOGUE["service_status"], **wrong)])


@pytest.mark.parametrize("wrong", [{"quoted": ()}, {"quotes": ""}, {"quoted": ("path",)}])
def test_operation_whose_diff_quotes_a_file_names_the_parameters_with_its_path(wrong: dict[str, Any]) -> None:
    """Policy could not tell whose content the diff has, and would never permit it."""
    with pytest.raises(Invalid, match="operation file_write needs `quoted` beside `quotes`"):
        Catalogue([structs.replace(CATALOGUE["file_write"], **wrong)])
