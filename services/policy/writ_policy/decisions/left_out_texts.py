"""Decisions on requests that leave out large texts and name their digests.

A stand-in takes the place of each text, and no rule may read it. The decision's digest is over the other values and the
digests of the texts, so an agent carries out only what policy decided on, with exactly these texts.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from writ_contracts.decisions import DecideRequest, Decision, GrantRequest, Subject, TextsByDigest
from writ_contracts.errors import Invalid
from writ_contracts.operations import Operation
from writ_policy.decisions.kept_texts import TEXTS_NEEDED
from writ_rules.engine.compile import Policy
from writ_trust.digests import digest_by_texts, keyed_digest, same, text_digest

STAND_IN = secrets.token_hex(16)
"""Nobody else knows it, so no value of a request is equal."""
Digested = Callable[[str, Mapping[str, Any]], str]
"""`keyed_digest`, or one that computes it once."""


def with_stand_ins(subject: Subject) -> Subject:
    """Return the subject with a stand-in for each text that it leaves out. Raises Invalid."""
    if not subject.texts:
        return subject
    if subject.texts.keys() & subject.parameters.keys():
        raise Invalid("a text beside its own digest")
    return structs.replace(subject, parameters={**subject.parameters, **dict.fromkeys(subject.texts, STAND_IN)})


def check_left_out(ask: DecideRequest | GrantRequest, operation: Operation, policy: Policy) -> None:
    """Raises Invalid (`texts_needed`) if policy has to read a text that is left out.

    A principal's signature is on the text itself, and so is the digest in a read grant for a preview.
    """
    subject = ask.subject
    if not subject.texts:
        return
    public = policy.verbs[operation.name].public
    previewed = isinstance(ask, DecideRequest) and "preview" in ask.look
    constrained = any((operation.name, name) in policy.constrained for name in subject.texts)
    if constrained or previewed or subject.statement is not None or subject.simulate:
        raise _needed()
    if not subject.texts.keys() <= set(operation.by_digest) - public:
        raise _needed()


def check_plain(subject: Subject, decision: Decision) -> None:
    """Raises Invalid (`texts_needed`) for a decision on left out texts that people approve, or approved before."""
    if subject.texts and (decision.effect == "require_approval" or decision.window or decision.approvals):
        raise _needed()


def digest_of(subject: Subject, values: Mapping[str, Any], digested: Digested = keyed_digest) -> str:
    """Return the digest of parameters of this subject, by those of the texts that it leaves out."""
    if not subject.texts:
        return digested(subject.parameters_key, values)
    if any(values.get(name) != STAND_IN for name in subject.texts):
        raise _needed()
    return digest_by_texts(subject.parameters_key, values, subject.texts)


def by_texts(subject: Subject) -> TextsByDigest | None:
    """Return the form of the subject's digests; None for that of whole parameters."""
    return TextsByDigest(names=sorted(subject.texts)) if subject.texts else None


def has_own_parameters(subject: Subject, first: Decision) -> bool:
    """Return whether the requester's own parameters are those of the first decision, in the form of its digest. Raises
    Invalid (`texts_needed`) if only their texts could show it.
    """
    key, own = subject.parameters_key, subject.parameters
    if first.by_texts is None:
        if subject.texts:
            raise _needed()
        return same(keyed_digest(key, own), first.own_parameters_digest or "")
    names = first.by_texts.names
    if not all(name in subject.texts or isinstance(own.get(name), str) for name in names):
        return False
    texts = {name: subject.texts.get(name) or text_digest(key, own[name]) for name in names}
    return same(digest_by_texts(key, own, texts), first.by_texts.own or "")


def without_left_out(effective: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """Return the effective parameters without stand-ins."""
    return {name: value for name, value in effective.items() if name not in subject.texts}


def _needed() -> Invalid:
    return Invalid("policy has to read a text of this request", code=TEXTS_NEEDED)
