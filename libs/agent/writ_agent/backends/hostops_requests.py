"""How agents speak with hostops, wherever it runs: the request of a task, and what an answer means for its outcome.

The form is that of writ_hostops/protocol.py. Where hostops ended without a word, nobody knows what it did.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from writ_agent.backends.port import Done, Effect, Probed, TargetTestResult, Task, Verdict
from writ_contracts.agents import ReceiptOutcome
from writ_contracts.backends import TargetTestStep
from writ_contracts.errors import Invalid, WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.parameters import hidden, public

Action = Literal["run", "baseline", "probe", "preview"]
LISTING_SECONDS = 10.0
SURVEY_SECONDS = 15.0
_VERDICTS: Mapping[str, Verdict] = {"succeeded": "took_effect", "not_done": "no_effect"}


class Result(Struct, frozen=True, kw_only=True):
    """The last line of hostops about a request."""

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
    """What hostops is asked for a task."""
    return {
        "id": task.operation_id,
        "action": action,
        "operation": task.operation.name,
        "parameters": dict(task.parameters),
        "target": dict(allowed),
        "baseline": dict(task.baseline if baseline is None else baseline),
        "timeout": task.timeout,
        "attempt": max(task.attempt, 1),
        "shown": list(public(task.operation.output, dict.fromkeys(task.operation.output.__struct_fields__))),
    }


def listing_request(source: str, allowed: Mapping[str, Any]) -> dict[str, Any]:
    """What hostops is asked for a listing."""
    return {
        "id": encode_id(os.urandom(16)),
        "action": "listing",
        "operation": source,
        "parameters": {},
        "target": dict(allowed),
        "timeout": LISTING_SECONDS,
    }


def survey_request(allowed: Mapping[str, Any]) -> dict[str, Any]:
    """What hostops is asked for a test of a target."""
    return {
        "id": encode_id(os.urandom(16)),
        "action": "survey",
        "operation": "host",
        "parameters": {},
        "target": dict(allowed),
        "timeout": SURVEY_SECONDS,
    }


def surveyed(
    reply: Mapping[str, Any] | None, operations: Iterable[str], steps: list[TargetTestStep]
) -> TargetTestResult:
    """How a host was found that hostops looked around on; `operations`: all that this hostops has."""
    output = seen_of("survey", reply).output
    versions = {str(name): str(version)[:100] for name, version in dict(output.get("versions", {})).items()}
    reasons = {str(pattern): str(why)[:500] for pattern, why in dict(output.get("lacking", {})).items()}
    lacking = {name: why for pattern, why in reasons.items() for name in operations if fnmatchcase(name, pattern)}
    return TargetTestResult(
        steps=[*steps, TargetTestStep(name="host", well=True, detail=versions.get("os", ""))],
        versions=versions,
        operations=sorted(set(operations) - lacking.keys()),
        lacking=lacking,
    )


def allowed(target: Target, forbidden: Iterable[str] = (), state_dir: str = "") -> dict[str, Any]:
    """What the target's entry declares, as hostops takes it. `forbidden`: what is Writ's own on that host."""
    return {
        "file_roots": [{"path": root.path, "allow_system_root": root.allow_system_root} for root in target.roots()],
        "forbidden_paths": list(forbidden),
        "state_dir": state_dir,
        "backup": target.backup,
        "scan_networks": target.scan_networks,
    }


def result_of(reply: Mapping[str, Any] | None) -> Result | None:
    """The result, if it is one."""
    try:
        return None if reply is None else msgspec.convert(reply, Result)
    except msgspec.ValidationError:
        return None


LONG_SECRET = 8
"""Characters from which a secret is looked for in what a host tells: shorter ones are found in anything."""


def told_of(task: Task, reply: Mapping[str, Any] | None) -> Result | None:
    """The result, if it is one, without the task's secrets wherever the record would show them."""
    result = result_of(reply)
    long = [secret for secret in secrets_of(task) if len(secret) >= LONG_SECRET]
    if result is None or not long:
        return result
    shown = {name: redacted(value, long) for name, value in public(task.operation.output, result.output).items()}
    return replace(
        result,
        message=redact(result.message, long),
        state=redacted(result.state, long),
        output={**result.output, **shown},
    )


def done_of(task: Task, reply: Mapping[str, Any] | None, over: bool = True) -> Done:
    """How a run went. `over`: whether a hostops that gave no result is seen to be gone with all that it started."""
    result = told_of(task, reply)
    if result is None:
        return without_word(task, over)
    return Done(
        outcome=result.outcome,
        output=result.output,
        state=result.state,
        code=result.code,
        message=result.message,
        effect=result.effect,
        over=result.certain,
    )


def without_word(task: Task, over: bool) -> Done:
    """It was killed, or broke."""
    message = "hostops ended without a result"
    if task.operation.read_only:
        return Done(outcome="cancelled", code="ended", message=message, over=over)
    return Done(outcome="unknown", code="ended", message=message, effect="maybe", over=over)


def seen_of(action: str, reply: Mapping[str, Any] | None, task: Task | None = None) -> Result:
    """What a look has seen. Raises WritError with what hostops has against it."""
    result = result_of(reply) if task is None else told_of(task, reply)
    if result is None:
        raise WritError(f"hostops gave no {action}")
    if result.outcome != "succeeded":
        raise Invalid(result.message, code=result.code)
    return result


def probed_of(result: Result) -> Probed:
    """The verdict of a probe, with its reason."""
    verdict = _VERDICTS.get(str(result.output.get("verdict")), "unknown")
    return Probed(verdict=verdict, seen={**result.state, "reason": str(result.output.get("reason", ""))})


def secrets_of(task: Task) -> list[str]:
    """The values that no log may show."""
    names = hidden(task.operation.parameters, task.parameters)
    return [str(task.parameters[name]) for name in names]


def redacted(value: Any, secrets: Collection[str]) -> Any:
    """The value with every text in it redacted."""
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
    """The text without the secrets, longest first."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "<secret>")
    return text
