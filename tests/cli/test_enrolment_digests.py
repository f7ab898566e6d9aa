"""The digest by which people compare an enrolment on two screens."""

from msgspec import Raw

from writ_cli.credentials.enrolment_files import short
from writ_contracts.people.credentials import KeyEvidence
from writ_contracts.people.directory import SignedEnrolment
from writ_trust.people import payload_digest


def test_compared_digest_has_at_least_80_bits() -> None:
    enrolment = SignedEnrolment(payload=Raw(b"{}"), possession=KeyEvidence(signature=""))
    compared = short(enrolment).replace("-", "")
    assert payload_digest(enrolment).startswith(compared)
    assert len(compared) * 4 >= 80
