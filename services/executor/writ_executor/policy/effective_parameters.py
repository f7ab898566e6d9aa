"""The effective parameters of a decision: those that were requested, with the defaults that policy's answer adds.

A stolen policy key would be used to change parameters on their way to an agent.
"""

import sys
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import structs

from writ_contracts.decisions import Decision, Subject
from writ_contracts.errors import Untrusted
from writ_executor.journal.large_parameters import LargeParameters
from writ_runtime.recent_digests import MOST_BYTES, SECONDS, RecentDigests
from writ_runtime.recent_values import RecentValues
from writ_trust.digests import digest_by_texts, same, text_digest

ALTERED: Final = "mismatched_grant"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class EffectiveParameters:
    """Compares parameters with their digest. That of large ones is computed once for the decision and the grant."""

    def __init__(self) -> None:
        self._digests = RecentDigests()
        self._texts: RecentValues[dict[str, tuple[str, str]]] = RecentValues(MOST_BYTES, SECONDS)
        """By key: the latest texts that policy decides without, and the digest of each."""

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
        if not same(self._digest(decision, effective, subject.parameters_key), decision.parameters_digest):
            raise Untrusted("policy's decision and its reply have different parameters", code=ALTERED)
        return effective

    def _digest(self, decision: Decision, effective: Mapping[str, Any], key: str) -> str:
        if decision.by_texts is None:
            return self._digests.of(key, effective)
        return digest_by_texts(key, effective, self.of_texts(key, effective, decision.by_texts.names))

    def left_out(self, subject: Subject, names: Collection[str], digests: Mapping[str, str] = NOTHING) -> Subject:
        """Return the subject with the digests of these texts in place of the texts. `digests`: those that are known."""
        texts = self.of_texts(subject.parameters_key, subject.parameters, names, digests)
        others = {name: value for name, value in subject.parameters.items() if name not in texts}
        return structs.replace(subject, parameters=others, texts=texts)

    def of_texts(
        self, key: str, values: Mapping[str, Any], names: Collection[str], digests: Mapping[str, str] = NOTHING
    ) -> dict[str, str]:
        """Return the digests of these texts, each computed once within a moment. `digests`: those that are known."""
        known = self._texts.get(key) or {}
        texts = {name: values[name] for name in names if isinstance(values.get(name), str)}
        found = {
            name: known[name]
            if name in known and known[name][0] == text
            else (text, digests.get(name) or text_digest(key, text))
            for name, text in texts.items()
        }
        self._digests.drop(key)
        self._texts.put(key, found, sum(map(sys.getsizeof, texts.values())))
        return {name: digested for name, (_, digested) in found.items()}

    def expect(self, subject: Subject, effective: Mapping[str, object], texts: LargeParameters) -> None:
        """Digest the parameters that policy probably decides on, before its answer is here; nothing if their texts were
        digested for its question.
        """
        if self._texts.get(subject.parameters_key) is None:
            self._digests.of(subject.parameters_key, effective, texts.written)

    def drop(self, subject: Subject) -> None:
        """Forget the parameters of an operation that has been granted or denied."""
        self._digests.drop(subject.parameters_key)
        self._texts.drop(subject.parameters_key)


def _is_earlier_end(operation: str, name: str, request: object, answered: object) -> bool:
    """Return whether policy moved the end of an emergency to its bound, where the requester's clock is ahead."""
    if (operation, name) != ("emergency_declare", "until"):
        return False
    return isinstance(request, int | float) and isinstance(answered, int | float) and answered < request
