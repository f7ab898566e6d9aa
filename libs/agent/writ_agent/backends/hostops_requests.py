"""The requests of agents to hostops, and the meaning of its answers for outcomes.

writ_hostops/protocol.py defines the form. If hostops ends without an answer, its effect is unknown.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from writ_agent.backends.port import Effect, Failing, ProbeResult, TargetTestResult, Task, TaskResult, Verdict
from writ_contracts.agents import ReceiptOutcome
from writ_contracts.bounds import check_values
from writ_contracts.errors import Invalid, WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.parameters import hidden, recorded_names
from writ_contracts.target_tests import TargetTestStep
from writ_hostops.encoded_text import ComputedDigests
from writ_hostops.supervised.frames import COMPUTED

Action = Literal["run", "baseline", "probe", "preview"]
LISTING_SECONDS = 10.0
SURVEY_SECONDS = 15.0
MOST_TEXTS = 256
_VERDICTS: Mapping[str, Verdict] = {"succeeded": "took_effect", "not_done": "no_effect"}


class HostopsResult(Struct, frozen=True, kw_only=True):
    """hostops' last line about a request."""

    outcome: ReceiptOutcome
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    effect: Effect = "none"
    certain: bool = True


def request(
    action: Action, task: Task, allowed: Mapping[str, Any], baseline: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the request to hostops for a task."""
    quotes = {"diff": True} if task.diff else {}
    return {
        "id": task.operation_id,
        "action": action,
        **quotes,
        "operation": task.operation.name,
        "parameters": dict(task.parameters),
        "target": dict(allowed),
        "baseline": dict(task.baseline if baseline is None else baseline),
        "timeout": task.timeout,
        "attempt": max(task.attempt, 1),
        "shown": recorded_names(task.operation.output),
    }


def listing_request(source: str, allowed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request to hostops for a listing."""
    return {
        "id": encode_id(os.urandom(16)),
        "action": "listing",
        "operation": source,
        "parameters": {},
        "target": dict(allowed),
        "timeout": LISTING_SECONDS,
    }


def reading_request(folder: str, path: str, largest: int) -> dict[str, Any]:
    """Return the request to hostops for the beginning of a text file in this folder."""
    return {
        "id": encode_id(os.urandom(16)),
        "action": "run",
        "operation": "file_read",
        "parameters": {"file_path": path, "encoding": "utf-8", "offset": 0, "max_bytes": largest},
        "target": {"file_roots": [{"path": folder, "allow_system_root": True}]},
        "timeout": LISTING_SECONDS,
    }


def survey_request(allowed: Mapping[str, Any], space_of_folder: str = "") -> dict[str, Any]:
    """Return the request to hostops for a target test, or for the space of one folder."""
    return {
        "id": encode_id(os.urandom(16)),
        "action": "survey",
        "operation": "host",
        "parameters": {"space_of": space_of_folder} if space_of_folder else {},
        "target": dict(allowed),
        "timeout": SURVEY_SECONDS,
    }


def surveyed(
    reply: Mapping[str, Any] | None, operations: Iterable[str], steps: list[TargetTestStep]
) -> TargetTestResult:
    """Return the test result of a host by a hostops survey. `operations`: all operations of this hostops."""
    output = read_result("survey", reply).output
    versions = {name[:100]: version[:100] for name, version in _texts(output, "versions").items()}
    reasons = {pattern: why[:500] for pattern, why in _texts(output, "lacking").items()}
    lacking = {name: why for pattern, why in reasons.items() for name in operations if fnmatchcase(name, pattern)}
    fails = {name: failing for name, failing in _failing(output).items() if name in operations}
    lacking = {name: failing.message for name, failing in fails.items()} | lacking
    return TargetTestResult(
        steps=[*steps, TargetTestStep(name="host", well=True, detail=versions.get("os", ""))],
        versions=versions,
        operations=sorted(set(operations) - lacking.keys()),
        lacking=lacking,
        fails=fails,
    )


def space_of(reply: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """Return free and total bytes from a survey with `space_of_folder`; None if the host does not report them."""
    found = read_result("survey", reply).output.get("space")
    match found:
        case [int() as free, int() as total]:
            return free, total
        case _:
            return None


def _texts(output: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return texts by name out of a host's output. Raises WritError for anything else."""
    values = output.get(name, {})
    if not isinstance(values, dict) or len(values) > MOST_TEXTS:
        raise WritError(f"hostops returned no valid {name}")
    return {str(key): str(value) for key, value in values.items()}


def _failing(output: Mapping[str, Any]) -> dict[str, Failing]:
    """Return code and message by operation out of a host's output. Raises WritError for anything else."""
    try:
        found = msgspec.convert(output.get("fails", {}), dict[str, tuple[str, str]])
    except msgspec.ValidationError as error:
        raise WritError("hostops returned no valid fails") from error
    if len(found) > MOST_TEXTS:
        raise WritError("hostops returned no valid fails")
    return {name: Failing(code[:100], message[:500], dry_run=True) for name, (code, message) in found.items()}


def names_of(listing: HostopsResult) -> list[str]:
    """Return the names of a listing. Raises WritError for names of another type than text."""
    names = listing.output.get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WritError("hostops returned no list of names")
    return names


def allowed(target: Target, forbidden: Iterable[str] = (), state_dir: str = "") -> dict[str, Any]:
    """Return the declarations of the target's entry in the form of hostops. `forbidden`: Writ's own files on this
    host.
    """
    return {
        "file_roots": [{"path": root.path, "allow_system_root": root.allow_system_root} for root in target.roots()],
        "forbidden_paths": list(forbidden),
        "state_dir": state_dir,
        "backup": target.backup,
        "scan_networks": target.scan_networks,
    }


def result_of(reply: Mapping[str, Any] | None) -> HostopsResult | None:
    """Return the result; None for another line."""
    try:
        return None if reply is None else msgspec.convert(reply, HostopsResult)
    except msgspec.ValidationError:
        return None


LONG_SECRET = 8
"""Shortest secret removed from a host's output: shorter ones occur in any text."""


def task_result(task: Task, reply: Mapping[str, Any] | None) -> HostopsResult | None:
    """Return the result without the task's secrets in recorded fields."""
    result = result_of(reply)
    long = [secret for secret in secrets_of(task) if len(secret) >= LONG_SECRET]
    if result is None or not long:
        return result
    names = recorded_names(task.operation.output)
    shown = {name: redacted(result.output[name], long) for name in names if name in result.output}
    return replace(
        result,
        message=redact(result.message, long),
        state=redacted(result.state, long),
        output={**result.output, **shown},
    )


def done_of(task: Task, reply: Mapping[str, Any] | None, over: bool = True) -> TaskResult:
    """Return the outcome of a run. `over`: without a result, all processes of hostops have certainly ended."""
    result = task_result(task, reply)
    if result is None:
        return without_result(task, over)
    if excess := _excess(result):
        return _too_large(task, excess, over=result.certain)
    return TaskResult(
        outcome=result.outcome,
        output=result.output,
        state=result.state,
        code=result.code,
        message=result.message,
        effect=result.effect,
        over=result.certain,
        digests=_computed_digests(reply or {}, result.output),
    )


def _computed_digests(reply: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that were computed from the frame, of texts that are in the output unchanged."""
    computed = reply.get(COMPUTED)
    if not isinstance(computed, ComputedDigests):  # a host may write anything else
        return {}
    received = reply["output"]
    return {name: one for name, one in computed.items() if name in output and output[name] is received.get(name)}


def without_result(task: Task, over: bool) -> TaskResult:
    """Return the outcome of a killed or crashed hostops."""
    message = "hostops ended without a result"
    if task.operation.read_only:
        return TaskResult(outcome="cancelled", code="ended", message=message, over=over)
    return TaskResult(outcome="unknown", code="ended", message=message, effect="maybe", over=over)


def _excess(result: HostopsResult) -> str:
    """Return the reason for which the values of a result cannot be sent on; "" for all that hostops writes."""
    try:
        check_values(result.output)
        check_values(result.state)
    except Invalid as error:
        return f"the host returned a result that exceeds the bounds: {error}"
    return ""


def _too_large(task: Task, message: str, *, over: bool) -> TaskResult:
    """Return the outcome of a run whose result is not used."""
    if task.operation.read_only:
        return TaskResult(outcome="failed", code="garbled", message=message, over=over)
    return TaskResult(outcome="unknown", code="garbled", message=message, effect="maybe", over=over)


def read_result(action: str, reply: Mapping[str, Any] | None, task: Task | None = None) -> HostopsResult:
    """Return the result of a read. Raises WritError for a refusal by hostops."""
    result = result_of(reply) if task is None else task_result(task, reply)
    if result is None:
        raise WritError(f"hostops returned no {action}")
    if result.outcome != "succeeded":
        raise Invalid(result.message, code=result.code)
    if excess := _excess(result):
        raise WritError(excess, code="garbled")
    return result


def probed_of(result: HostopsResult) -> ProbeResult:
    """Return the verdict of a probe, with its reason."""
    verdict = _VERDICTS.get(str(result.output.get("verdict")), "unknown")
    return ProbeResult(verdict=verdict, observed={**result.state, "reason": str(result.output.get("reason", ""))})


def secrets_of(task: Task) -> list[str]:
    """Return the values which must not appear in logs."""
    names = hidden(task.operation.parameters, task.parameters)
    return [str(task.parameters[name]) for name in names]


def redacted(value: Any, secrets: Collection[str]) -> Any:
    """Return the value with every text redacted."""
    match value:
        case str():
            return redact(value, secrets)
        case list():
            return [redacted(one, secrets) for one in value]
        case dict():
            return {redact(str(name), secrets): redacted(one, secrets) for name, one in value.items()}
        case _:
            return value


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets, longest first."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "<secret>")
    return text
