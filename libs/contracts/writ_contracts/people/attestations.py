"""Attestations: a maker's statement that a private key was made inside one of its devices (WebAuthn level 3, §6.5).

The bytes are kept as the device signed them. Policy, agents and the verifier of archives verify them again, against the
certificates that the people-key recorded in the directory.
"""

from typing import Annotated

from msgspec import Meta, Struct

from writ_contracts.bounds import Seconds
from writ_contracts.people.credentials import Encoded, Line

MOST_ROOTS = 32
MOST_RELYING_PARTIES = 16


class SshAttestation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ssh"):
    """The file of `ssh-keygen -O write-attestation` (`ssh-sk-attest-v01`, OpenSSH PROTOCOL.u2f)."""

    data: Encoded


class PasskeyAttestation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="passkey"):
    """The response of `navigator.credentials.create`: the attestation object, and the client data it covers."""

    attestation_object: Encoded
    client_data: Encoded


Attestation = SshAttestation | PasskeyAttestation


class AttestationRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A maker's certificate authority, in DER. It counts for enrolments from `recorded_at` until `removed_at`."""

    certificate: Encoded
    recorded_at: Seconds
    removed_at: Seconds | None = None

    def counted_at(self, enrolled_at: float) -> bool:
        """Return true if an enrolment of this time may rest on it."""
        return self.recorded_at <= enrolled_at and (self.removed_at is None or enrolled_at < self.removed_at)


class RelyingParty(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place where passkeys of this installation sign: RP ID and origin. Passkeys enrolled later may name it."""

    rp_id: Annotated[Line, Meta(min_length=1)]
    origin: Annotated[Line, Meta(min_length=1)]
    recorded_at: Seconds
