"""Questions as JSON lines and their replies in the same form, for `writ policy eval`.

    {"id": "1", "principal": "alice", "operation": "service_restart", "target": "web-1", "parameters": {…},
     "at": "2026-11-24T09:00:00Z", "emergency": false, "approvals": []}
    {"id": "1", "decision": "allow", "rules": ["…"], "reason": "…", "effective_parameters": {…}, "trace": [{…}]}

The reply to a bad line is `invalid` with the reason; the following lines are not affected.
"""

import msgspec

from writ_contracts.errors import Invalid
from writ_contracts.policy.questions import EvalRequest, EvalResult
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.policy_file.times import instant
from writ_rules.setting import AccessQuestion, Setting
from writ_rules.supplied_facts import facts_of

LONGEST_LINE = 2_000_000


_decoder = msgspec.json.Decoder(EvalRequest)
_encoder = msgspec.json.Encoder()


def reply_line(setting: Setting, line: bytes, *, now: float) -> bytes:
    """Return the reply to one line, without its line end."""
    return _encoder.encode(_result(setting, line, now))


def _result(setting: Setting, line: bytes, now: float) -> EvalResult:
    question = parsed(line)
    return decided(setting, question, now=now) if isinstance(question, EvalRequest) else question


def parsed(line: bytes) -> EvalRequest | EvalResult:
    """Return the request in a line, or the reply to a bad line."""
    if len(line) > LONGEST_LINE:
        return _invalid(None, f"a line of more than {LONGEST_LINE} bytes")
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _invalid(_id_of(line), str(error)[:1000])


def decided(setting: Setting, question: EvalRequest, *, now: float, facts: Facts = NO_FACTS) -> EvalResult:
    """Return the reply to one request; `facts` are those of its target, if it supplies none itself."""
    try:
        ruling = setting.decide(question_of(question, now, facts))
    except (Invalid, ValueError) as error:
        return _invalid(question.id, str(error)[:1000])
    return EvalResult(
        id=question.id,
        decision=ruling.effect,
        rules=ruling.rules,
        reason=ruling.reason,
        effective_parameters=dict(ruling.effective),
        trace=ruling.trace,
    )


def question_of(question: EvalRequest, now: float, facts: Facts = NO_FACTS) -> AccessQuestion:
    """Return the question for a request. Raises ValueError for a bad time."""
    at = now if question.at is None else instant(question.at)
    return AccessQuestion(
        principal=question.principal,
        operation=question.operation,
        target=question.target,
        at=at,
        parameters=question.parameters,
        dry_run=question.dry_run,
        approvals=tuple(question.approvals),
        emergency=question.emergency,
        facts=facts if question.facts is None else facts_of(question.facts, question.target, at),
    )


def _invalid(number: str | int | None, why: str) -> EvalResult:
    return EvalResult(id=number, decision="invalid", rules=[], reason=why, effective_parameters={}, trace=[])


def _id_of(line: bytes) -> str | int | None:
    """Return the id of a bad line, so its sender can identify it."""
    try:
        data = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    value = data.get("id") if isinstance(data, dict) else None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
