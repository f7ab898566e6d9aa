"""Enrolments in files: made by the owner of a credential, endorsed by another person, enrolled with the people-key."""

import secrets
import time
from pathlib import Path

from msgspec import Raw, Struct, structs

from writ_client.people.approvals import Signer
from writ_client.people.ssh_keygen import read_ssh_key, ssh_credential
from writ_contracts.errors import Invalid
from writ_contracts.people.attestations import Attestation, SshAttestation
from writ_contracts.people.credentials import Credential, KeyEvidence, Proof
from writ_contracts.people.directory import CredentialEnrolment, SignedEnrolment
from writ_contracts.wire import canonical, decode, encode
from writ_documents.atomic_files import write_atomically
from writ_trust.people import payload_digest, signed_bytes
from writ_trust.presence.passkeys import encoded

LARGEST, LARGEST_ATTESTATION = 65_536, 6_000
READABLE = 0o644
NOT_YET = KeyEvidence(signature="")
"""In place of the possession of a passkey which has yet to sign."""


class EnrolledInstallation(Struct, frozen=True, kw_only=True):
    """The installation of an enrolment: its id, and its public people-key."""

    id: str
    people_key: str


async def made(
    person: str,
    ssh_key: Path,
    about: EnrolledInstallation,
    proof: Proof,
    *,
    label: str = "",
    attestation: Attestation | None = None,
) -> SignedEnrolment:
    """Return an enrolment of this security key, which it signs itself: one touch, for `verified` with the PIN."""
    key = read_ssh_key(ssh_key)
    return await signed_by(ssh_credential(person, key.line, proof, label=label), key, about, attestation)


async def signed_by(
    credential: Credential, signer: Signer, about: EnrolledInstallation, attestation: Attestation | None = None
) -> SignedEnrolment:
    """Return the enrolment of a credential, with the evidence that its private key is there."""
    return await proved(unsigned(credential, about, attestation), signer)


def unsigned(
    credential: Credential, about: EnrolledInstallation, attestation: Attestation | None = None
) -> SignedEnrolment:
    """Return the enrolment of a credential which has yet to sign it."""
    statement = CredentialEnrolment(
        installation=about.id,
        people_key=about.people_key,
        credential=credential,
        issued_at=time.time(),
        nonce=secrets.token_hex(32),
        attestation=attestation,
    )
    return SignedEnrolment(payload=Raw(canonical(statement)), possession=NOT_YET)


async def proved(enrolment: SignedEnrolment, signer: Signer) -> SignedEnrolment:
    """Return the enrolment with the signature of its credential."""
    return structs.replace(enrolment, possession=await signer.sign(signed_bytes(enrolment)))


async def endorsed(enrolment: SignedEnrolment, signer: Signer) -> SignedEnrolment:
    """Return the enrolment with the endorsement by this credential, which must be enrolled."""
    evidence = await signer.sign(signed_bytes(enrolment))
    return structs.replace(enrolment, endorser=signer.id, endorsement=evidence)


def read_file(path: Path) -> SignedEnrolment:
    """Return the enrolment in a file. Raises Invalid."""
    try:
        with path.open("rb") as file:
            return decode(file.read(LARGEST + 1), SignedEnrolment, limit=LARGEST).detached()
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror}") from error
    except Invalid as error:
        raise Invalid(f"{path}: is not an enrolment of `writ credential request`: {error}") from error


def read_ssh_attestation(path: Path) -> SshAttestation:
    """Return the attestation in a file of `ssh-keygen -O write-attestation`. Raises Invalid."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_ATTESTATION + 1)
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > LARGEST_ATTESTATION:
        raise Invalid(f"{path}: has more than {LARGEST_ATTESTATION} bytes, so it is no attestation of ssh-keygen")
    return SshAttestation(data=encoded(data))


def write_file(path: Path, enrolment: SignedEnrolment) -> None:
    """Write the file, which holds no secret."""
    write_atomically(path, encode(enrolment) + b"\n", READABLE)


def short(enrolment: SignedEnrolment) -> str:
    """Return the digest of an enrolment as people compare it: 80 bits, since who exchanges the file has all the time
    to look for a key and a nonce with the same beginning.
    """
    digest = payload_digest(enrolment)
    return "-".join(digest[at : at + 4] for at in range(0, 20, 4))
