"""Credentials of people, and the evidence of a signature by one of them.

A file key proves access to a file. A security key proves a person's touch (`touch`), or also a PIN or a fingerprint
(`verified`). A software key can set the same flags, so `proof` is the most it may count for, as established at
enrolment by other means than the key itself.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.ids import LINE_PATTERN, TOKEN_PATTERN, Digest, PrincipalId

Proof = Literal["key", "touch", "verified"]
PROOFS: tuple[Proof, ...] = ("key", "touch", "verified")
"""From the weakest to the strongest; each includes those before it."""


def strength(proof: Proof) -> int:
    """Return the place among PROOFS; of a proof of a newer release the one after them."""
    return PROOFS.index(proof) if proof in PROOFS else len(PROOFS)


class Presence(Struct, frozen=True):
    """The proof behind a signature: access to the key alone, or a person's presence. `attested`: by a
    device whose maker vouches for it.
    """

    proof: Proof = "key"
    attested: bool = False

    def meets(self, demanded: "Presence") -> bool:
        """Return true if this proves at least the demanded presence. A proof of a newer release meets nothing, and
        nothing meets it.
        """
        if self.proof not in PROOFS or demanded.proof not in PROOFS:
            return False
        return PROOFS.index(self.proof) >= PROOFS.index(demanded.proof) and self.attested >= demanded.attested

    def at_least(self, other: "Presence") -> "Presence":
        """Return the stronger of both, which proves the other, too."""
        return Presence(max(self.proof, other.proof, key=strength), self.attested or other.attested)

    def __str__(self) -> str:
        return f"{self.proof} by an attested credential" if self.attested else self.proof


KEY, TOUCH = Presence("key"), Presence("touch")
SSH_NAMESPACE = "writ-approval"
"""Of `ssh-keygen -Y sign -n`: a signature for a commit or a login is none for Writ."""
MOST_EVIDENCE = 8192

Method = Literal["nkey", "ssh", "passkey"]
Algorithm = Literal[-8, -7, -257]
"""Of COSE: Ed25519, ECDSA on P-256 with SHA-256 (ES256), RSA with SHA-256 (RS256)."""
Line = Annotated[str, Meta(pattern=LINE_PATTERN, max_length=255)]
Encoded = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*(?!\n)$", max_length=MOST_EVIDENCE, description="base64url")]


class Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One public key of one person.

    `key`: an nkey (`U…`), a line of an OpenSSH public key file, or of a passkey its SubjectPublicKeyInfo in base64url.
    A passkey also has its credential id, the COSE algorithm, and the RP ID and origins at which it may sign (WebAuthn
    level 3, §7.2).
    """

    id: Annotated[str, Meta(pattern=TOKEN_PATTERN)]
    person: PrincipalId
    method: Method
    key: Annotated[str, Meta(max_length=2048)]
    proof: Proof
    """The strongest proof that it may give."""
    attested: bool = False
    """Its maker vouches that the private key cannot leave the device. Set by the verification of the enrolment's
    attestation; the value in an enrolment, which is the enrolling person's word, is ignored.
    """
    label: Line = ""
    """For people, such as `blue token`."""
    credential_id: Encoded = ""
    algorithm: Algorithm | Literal[0] = 0
    rp_id: Line = ""
    origins: Annotated[list[Line], Meta(max_length=16)] = field(default_factory=list)

    @property
    def presence(self) -> Presence:
        """The strongest presence its signature can prove."""
        return Presence(self.proof, self.attested)


class KeyEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="key"):
    """A signature of an nkey: Ed25519 over the bytes themselves."""

    signature: Encoded


class SshEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ssh"):
    """The output of `ssh-keygen -Y sign -n writ-approval` (OpenSSH PROTOCOL.sshsig), as it is written to a file."""

    armored: Annotated[str, Meta(max_length=MOST_EVIDENCE)]


class PasskeyEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="passkey"):
    """A WebAuthn assertion whose challenge is the SHA-256 of the signed bytes."""

    credential_id: Encoded
    authenticator_data: Encoded
    client_data: Encoded
    signature: Encoded


Evidence = KeyEvidence | SshEvidence | PasskeyEvidence


class ProvenPresence(Struct, frozen=True, kw_only=True):
    """The result of a verification. `counter` is the device's: a hint only, since synced passkeys always send 0."""

    proof: Proof
    credential: str
    evidence_digest: Digest
    counter: int = 0


class PresenceEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signature by a person's credential which proves the requester's presence: over `writ/presence/v1`, a zero byte,
    and the payload of the request's statement.
    """

    credential: Annotated[str, Meta(pattern=TOKEN_PATTERN)]
    evidence: Evidence
