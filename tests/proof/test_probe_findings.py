"""The outcome that a probe found is checked against the agent's signed finding in the record."""

from typing import Any

import pytest
from msgspec import structs
from tests.contracts.messages import sample
from tests.proof.archives import AGENT, POLICY, events_of, id_of

from writ_contracts import journal, subjects
from writ_contracts.agents import ProbeFinding
from writ_contracts.errors import Untrusted
from writ_contracts.history.records import Record
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_proof.archive.signatures import Signatures
from writ_trust.statements import sign


def finding(**changed: Any) -> Signed:
    about = {"operation_id": id_of(1), "verdict": "took_effect"}
    return sign(AGENT, structs.replace(sample(ProbeFinding), **{**about, **changed}))


def ends(outcome: str, probe: Signed | None) -> list[journal.Finished | journal.Resolved]:
    """Return both kinds of ends that a probe leads to."""
    of: dict[str, Any] = {"operation_id": id_of(1), "id": "e", "at": 1.0, "correlation_id": "c", "outcome": outcome}
    return [journal.Finished(**of, probe=probe), journal.Resolved(**of, how="probe", probe=probe)]


def check(end: journal.Finished | journal.Resolved) -> int:
    """Return the number of valid signatures of an operation with this end. Raises Untrusted."""
    signatures = Signatures([POLICY.public])
    for number, event in enumerate([*events_of(1)[:-1], end], start=1):
        subject = subjects.operation_event("alice", id_of(1), str(event.__struct_config__.tag))
        signatures.check(Record(number, subject, encode(event), {}, 1.0))
    return signatures.signed


@pytest.mark.parametrize(("verdict", "outcome"), [("took_effect", "succeeded"), ("no_effect", "failed")])
def test_outcome_that_the_finding_bears_counts_its_signature(verdict: str, outcome: str) -> None:
    for signed, unsigned in zip(ends(outcome, finding(verdict=verdict)), ends(outcome, None), strict=True):
        assert check(signed) == check(unsigned) + 1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"verdict": "no_effect"}, "the finding of its probe says no_effect"),
        ({"verdict": "unknown"}, "the finding of its probe says unknown"),
        ({"operation_id": id_of(2)}, "the finding of its probe is of another operation"),
    ],
    ids=["no-effect", "unknown", "another-operation"],
)
def test_outcome_that_the_finding_does_not_bear_is_a_problem(changed: dict[str, Any], problem: str) -> None:
    for end in ends("succeeded", finding(**changed)):
        with pytest.raises(Untrusted, match=problem):
            check(end)


def test_finding_with_a_changed_content_is_a_problem() -> None:
    forged = structs.replace(finding(), payload=finding(verdict="no_effect").payload)
    for end in ends("failed", forged):
        with pytest.raises(Untrusted):
            check(end)
