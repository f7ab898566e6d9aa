"""The large texts of recent requests. The request for a grant contains the decision's digest of the parameters in place
of these texts.

Policy computed that digest over the texts, under the key of the operation, so no other text can be substituted.
"""

import sys
from typing import Final

from msgspec import structs

from writ_contracts.decisions import Decision, GrantRequest, Subject
from writ_contracts.errors import Invalid
from writ_contracts.large_texts import large_texts
from writ_runtime.recent_digests import RecentDigests
from writ_runtime.recent_values import RecentValues

MOST_BYTES, SECONDS = 8 * 1024 * 1024, 30.0
TEXTS_NEEDED: Final = "texts_needed"


class KeptTexts:
    """The texts in the memory of one replica. Another replica requests the texts (`texts_needed`)."""

    def __init__(self, digests: RecentDigests) -> None:
        """`digests`: those of decisions, which keep these texts as well."""
        self._digests = digests
        self._kept: RecentValues[dict[str, str]] = RecentValues(MOST_BYTES, SECONDS)

    def keep(self, subject: Subject, decision: Decision) -> None:
        """Keep the large texts of a request that was not denied."""
        texts = large_texts(subject.parameters)
        if decision.effect == "deny" or subject.simulate:
            self._digests.drop(subject.parameters_key)
        elif texts:
            size = sum(map(sys.getsizeof, texts.values()))
            self._kept.put(_key(subject.operation_id, decision.parameters_digest), texts, size)

    def completed(self, ask: GrantRequest) -> GrantRequest:
        """Return the request with the texts that it leaves out. Raises Invalid (`texts_needed`) if they
        are not here.
        """
        if ask.kept is None:
            return ask
        texts = self._kept.get(_key(ask.subject.operation_id, ask.kept))
        if texts is None:
            raise Invalid("the large texts of this request are not kept here any more", code=TEXTS_NEEDED)
        parameters = {**ask.subject.parameters, **texts}
        return structs.replace(ask, subject=structs.replace(ask.subject, parameters=parameters))

    def drop(self, ask: GrantRequest) -> None:
        """Remove the texts of an operation that has been granted."""
        self._digests.drop(ask.subject.parameters_key)
        if ask.kept is not None:
            self._kept.drop(_key(ask.subject.operation_id, ask.kept))


def _key(operation_id: str, digest: str) -> str:
    return f"{operation_id}.{digest}"
