"""The directory of people's credentials: the public keys of each person, and the presence each of them proves.

It is signed by the people-key, which no service has. Policy, agents and the verifier of archives pin its public half.
Entries are never taken out: a removed credential stays with the time of its removal, so the newest version verifies old
approvals, and a version without an entry of an earlier one is no successor of it.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct, field, structs

from writ_contracts.bounds import Count, Seconds
from writ_contracts.ids import TOKEN_PATTERN, Digest, Hex32, PrincipalId, PublicKey
from writ_contracts.people.attestations import (
    MOST_RELYING_PARTIES,
    MOST_ROOTS,
    Attestation,
    AttestationRoot,
    RelyingParty,
)
from writ_contracts.people.credentials import Credential, Evidence, Presence
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

Posture = Literal["solo", "team"]
"""`solo`: one person runs the installation, and may approve what an AI agent requests for them, by a proof of presence.
`team`: nobody approves what is theirs. A directory goes from `solo` to `team` and never back.
"""
MOST_ENTRIES = 500
KNOWN_HEADER = "Writ-Known"
"""Of a PeopleRequest: the digest of the directory that the sender has."""
MOST_SUCCESSIONS = 64
LARGEST_DIRECTORY = 900_000
"""Bytes. Of a security key an entry has about 1.5 KB."""


class CredentialEnrolment(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.credential.v1"
):
    """The statement which binds a credential to a person. `people_key` names the installation. The credential signs it,
    to prove possession of its private key; where another person has a credential already, one of theirs signs it too.

    `attestation`: of the device's maker. Without one the credential counts as unattested.
    """

    people_key: PublicKey
    credential: Credential
    issued_at: Seconds
    nonce: Hex32
    attestation: Attestation | None = None


class SignedEnrolment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signed Enrolment. Signed is `writ/credential/v1`, a zero byte, and `payload`, which is its canonical JSON.

    `possession` is by the new credential, `endorsement` by the credential of another person with the id `endorser`.
    """

    payload: Raw
    possession: Evidence
    endorser: Annotated[str, Meta(pattern=TOKEN_PATTERN)] | None = None
    endorsement: Evidence | None = None

    def detached(self) -> "SignedEnrolment":
        """Return a copy that does not hold the message it came in."""
        return structs.replace(self, payload=self.payload.copy())


class DirectoryEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One credential in the directory. It counts for requests made after `enrolled_at`, and no longer once `removed_at`
    is set (both Unix seconds).
    """

    enrolment: SignedEnrolment
    enrolled_at: Seconds
    removed_at: Seconds | None = None
    removed_for: Annotated[str, Meta(max_length=300)] = ""
    """The reason of the removal."""


class PeopleKeySuccession(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.people_key.v1"
):
    """A people-key names the next one, and signs no more from then on."""

    next: PublicKey
    at: Seconds


class PeopleDirectory(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.people.v1"
):
    """One version of the directory, signed by the people-key. `number` counts from 1; `at` is the time of its
    signature. `attestation_roots` and `relying_parties` bound the enrolments after them.
    """

    number: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    at: Seconds
    posture: Posture
    entries: Annotated[list[DirectoryEntry], Meta(max_length=MOST_ENTRIES)] = field(default_factory=list)
    attestation_roots: Annotated[list[AttestationRoot], Meta(max_length=MOST_ROOTS)] = field(default_factory=list)
    relying_parties: Annotated[list[RelyingParty], Meta(max_length=MOST_RELYING_PARTIES)] = field(default_factory=list)
    successions: Annotated[list[Signed], Meta(max_length=MOST_SUCCESSIONS)] = field(default_factory=list)
    """PeopleKeySuccession, each signed by the people-key that it replaces, the oldest first."""


class NamedDirectory(Struct, frozen=True, kw_only=True):
    """The version of the directory by which a decision or grant was made."""

    number: Count
    digest: Digest


class PeopleRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An executor requests the directory from policy (`writ.policy.people`), of at least this version."""

    number: Count


class PeopleQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Query the directory of people's credentials (`….people`)."""


class PeopleReply(Struct, frozen=True, kw_only=True):
    """The signed directory in force, None where there is none; or an error. `notice`: policy's signed PeopleNotice of
    it, for executors, by its present key. If the request's header `KNOWN_HEADER` has the directory's digest, the reply
    has the notice alone.
    """

    directory: Signed | None = None
    notice: Signed | None = None
    error: Failure | None = None


class PeopleNotice(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.people_notice.v1"
):
    """Policy's statement that this directory is in force (`at`, Unix seconds). An agent takes a directory that no grant
    named by such a statement alone, so an executor with a former people-key cannot send one of its own.
    """

    directory: NamedDirectory
    at: Seconds


class PeopleNoticeMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.agent.<pool>.people`, for every agent of the pool while one knows an older version: the signed
    PeopleNotice and the directory that it names.
    """

    notice: Signed
    directory: Signed


class PersonCredential(Struct, frozen=True, kw_only=True):
    """A credential of the verified directory, with the times of its enrolment and removal."""

    credential: Credential
    enrolled_at: float
    endorser: PrincipalId | None = None
    removed_at: float | None = None
    device: str = ""
    """The model of an attested device (AAGUID), and the subject of the root that vouches for it."""

    @property
    def presence(self) -> Presence:
        """The most that a signature by it proves."""
        return self.credential.presence

    def counts_for(self, requested_at: float) -> bool:
        """Return true if it counts now, for a request made at this time."""
        return self.removed_at is None and self.enrolled_at < requested_at

    def counted_at(self, signed_at: float, requested_at: float) -> bool:
        """Return whether it counted when it signed."""
        return self.enrolled_at < requested_at and (self.removed_at is None or signed_at < self.removed_at)
