"""The effective parameters of a decision: those that were requested, with the defaults that policy's answer adds.

A stolen policy key would be used to change parameters on their way to an agent.
"""

import sys
from collections.abc import Mapping
from typing import Final

from writ_contracts.decisions import Decision, Subject
from writ_contracts.errors import Untrusted
from writ_contracts.large_texts import large_texts, without_large_texts
from writ_contracts.wire import canonical
from writ_runtime.recent_values import RecentValues
from writ_trust.digests import keyed_digest, same

ALTERED: Final = "mismatched_grant"
MOST_BYTES, SECONDS = 8 * 1024 * 1024, 30.0


class EffectiveParameters:
    """Compares large parameters with their digest once for the decision and the grant."""

    def __init__(self) -> None:
        self._compared: RecentValues[tuple[dict[str, str], bytes]] = RecentValues(MOST_BYTES, SECONDS)

    def contained(self, decision: Decision, answered: Mapping[str, object], subject: Subject) -> dict[str, object]:
        """Return the requested parameters, with those of the answer. Raises Untrusted unless policy allows at least
        the requested ones, under its own digest.
        """
        if decision.effect == "deny":
            return dict(answered)
        changed = [
            name
            for name, value in subject.parameters.items()
            if name in answered
            and answered[name] != value
            and not _is_earlier_end(subject.operation, name, value, answered[name])
        ]
        if changed:
            raise Untrusted(f"policy's reply has another {', '.join(sorted(changed))} than the request", code=ALTERED)
        effective = {**subject.parameters, **answered}
        if not self._digest_holds(decision, effective, subject):
            raise Untrusted("policy's decision and its reply have different parameters", code=ALTERED)
        return effective

    def drop(self, decision: Decision, subject: Subject) -> None:
        """Forget the parameters of an operation that has been granted."""
        self._compared.drop(_key(decision, subject))

    def _digest_holds(self, decision: Decision, effective: dict[str, object], subject: Subject) -> bool:
        texts = large_texts(effective)
        if not texts:
            return same(keyed_digest(subject.parameters_key, effective), decision.parameters_digest)
        parts = (texts, canonical(without_large_texts(effective)))
        key = _key(decision, subject)
        if self._compared.get(key) == parts:
            return True
        holds = same(keyed_digest(subject.parameters_key, effective), decision.parameters_digest)
        if holds:
            self._compared.put(key, parts, sum(map(sys.getsizeof, texts.values())))
        return holds


def _key(decision: Decision, subject: Subject) -> str:
    return f"{subject.parameters_key}.{decision.parameters_digest}"


def _is_earlier_end(operation: str, name: str, request: object, answered: object) -> bool:
    """Return whether policy moved the end of an emergency to its bound, where the requester's clock is ahead."""
    if (operation, name) != ("emergency_declare", "until"):
        return False
    return isinstance(request, int | float) and isinstance(answered, int | float) and answered < request
