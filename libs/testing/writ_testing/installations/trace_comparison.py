"""One operation in several kinds of installations: the part of its trace that must be equal everywhere.

Identities (keys, signatures, processes), times, and names of folder and machine differ. Everything else counts: the
events, their order, their fields, and every other value.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from writ_installation.files.home import host_token
from writ_testing.demo import POLICY, TARGET, first_operation
from writ_testing.installations.installation import local_target, prepare, running_installation

OWN = frozenset(
    {"id", "operation_id", "correlation_id", "causation_id", "traceparent", "idempotency_key", "instance", "nonce"}
    | {"installation"}
    | {"key", "signature", "seal_to", "salt", "look_key", "fingerprint", "pid"}
    | {
        "at",
        "start_by",
        "deadline",
        "issued_at",
        "expires_at",
        "granted_at",
        "started_at",
        "finished_at",
        "duration_ms",
    }
    | {"sequence", "subject", "control_sequence", "number", "version"}
    | {"hidden_bytes", "output_bytes"}
    | {"own_parameters_digest"}
    | {"parameters_digest", "statement_digest", "decision_digest", "claim_digest", "grant_digest", "output_digest"}
    | {"inventory_digest", "principals_digest", "result_digest", "parameter_key"}
    | {"digest", "digest_before", "digest_after"}
)
"""Fields with values of one operation or installation, or with a length that depends on the folder's name. Those of
instants may have a twin for people, which ends in _iso.
"""
ABSENT = frozenset({"host"})
"""Fields that only some installations have: a claim names its host by its machine-id, where there is one."""
WHOLE = frozenset({"plugins"})
"""Fields that differ as a whole: the demo has the example plugin, others have none."""


def same_part(trace: Mapping[str, Any], places: Mapping[str, str]) -> list[Any]:
    """Return the part of `writ trace ID -o json` that all installations must share.

    `places`: the names of its folder, host and pool, with their replacements.
    """
    return [_common(event, places) for event in trace["events"]]


async def in_the_demo(folder: Path) -> list[Any]:
    """Return the same part of the first operation of the demo's installation on this machine."""
    root = folder / "files"
    home = prepare(folder, targets=[local_target(TARGET, root)], policy=POLICY)
    (root / "same").write_text("old words\n")
    (root / "same").chmod(0o644)
    async with running_installation(folder, home=home) as installation:
        ended = await installation.writ(*first_operation(str(root / "same")), "-o", "json")
        reply = await installation.writ("trace", json.loads(ended.out)["operation_id"], "-o", "json")
    return same_part(json.loads(reply.out), {str(root): "FOLDER", host_token(): "HOST"})


def _common(value: Any, places: Mapping[str, str]) -> Any:
    match value:
        case dict():
            shared = ((name, one) for name, one in value.items() if name not in ABSENT)
            return {name: "…" if _own(name, one) else _common(one, places) for name, one in shared}
        case list():
            return [_common(one, places) for one in value]
        case str():
            for place, name in places.items():
                value = value.replace(place, name)
            return value
        case _:
            return value


def _own(name: str, value: Any) -> bool:
    return name in WHOLE or (name.removesuffix("_iso") in OWN and not isinstance(value, dict | list))
