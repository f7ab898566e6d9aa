"""The effective parameters of a decision: those that were requested, with the defaults that policy's answer adds.

A stolen policy key would be used to change parameters on their way to an agent.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from writ_contracts.decisions import Decision, Subject
from writ_contracts.errors import Untrusted
from writ_runtime.recent_digests import RecentDigests
from writ_trust.digests import same

ALTERED: Final = "mismatched_grant"


class EffectiveParameters:
    """Compares parameters with their digest. That of large ones is computed once for the decision and the grant."""

    def __init__(self) -> None:
        self._digests = RecentDigests()

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
        if not same(self._digests.of(subject.parameters_key, effective), decision.parameters_digest):
            raise Untrusted("policy's decision and its reply have different parameters", code=ALTERED)
        return effective

    def expect(self, subject: Subject, effective: Mapping[str, object], written: Mapping[str, Raw]) -> None:
        """Digest the parameters that policy probably decides on, before its answer is here."""
        self._digests.of(subject.parameters_key, effective, written)

    def drop(self, subject: Subject) -> None:
        """Forget the parameters of an operation that has been granted or denied."""
        self._digests.drop(subject.parameters_key)


def _is_earlier_end(operation: str, name: str, request: object, answered: object) -> bool:
    """Return whether policy moved the end of an emergency to its bound, where the requester's clock is ahead."""
    if (operation, name) != ("emergency_declare", "until"):
        return False
    return isinstance(request, int | float) and isinstance(answered, int | float) and answered < request
