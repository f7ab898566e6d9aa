"""Passkeys that sign elsewhere, in a browser: the options it needs and the JSON it returns (WebAuthn level 3, §5.1).

Options are for `PublicKeyCredential.parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON`, answers from
`toJSON()`. Pure: policy, agents and the verifier of archives verify the signatures.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.attestations import PasskeyAttestation, RelyingParty
from writ_contracts.people.credentials import Algorithm, Credential, PasskeyEvidence, Proof, strength
from writ_trust.presence import passkeys
from writ_trust.presence.attestations import read_attestation_object
from writ_trust.presence.authenticator_data import RegisteredKey, read_registered
from writ_trust.presence.proofs import key_digest

LARGEST_ANSWER = 65_536
SECONDS = 300
"""As long as policy takes a signed approval."""
PREFERRED: tuple[Algorithm, ...] = (-8, -7, -257)
"""Security keys and phones have the first two, Windows Hello the last one."""


class AssertionResponse(Struct, frozen=True, kw_only=True, rename="camel"):
    """`AuthenticatorAssertionResponseJSON`."""

    client_data_json: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str


class AttestationResponse(Struct, frozen=True, kw_only=True, rename="camel"):
    """`AuthenticatorAttestationResponseJSON`."""

    client_data_json: str = msgspec.field(name="clientDataJSON")
    attestation_object: str


class AssertionJson(Struct, frozen=True, kw_only=True):
    """`AuthenticationResponseJSON`."""

    id: str
    response: AssertionResponse


class RegistrationJson(Struct, frozen=True, kw_only=True):
    """`RegistrationResponseJSON`."""

    id: str
    response: AttestationResponse


class PasskeyAssertion(Struct, frozen=True, kw_only=True):
    """An assertion that a browser returned. It is a `writ_client.people.approvals.Signer`. `id` is that of the
    credential.
    """

    id: str
    evidence: PasskeyEvidence

    async def sign(self, data: bytes) -> PasskeyEvidence:
        """Return the evidence. Raises Untrusted where it is over other bytes."""
        client = msgspec.json.decode(passkeys.decoded(self.evidence.client_data))
        challenge = client.get("challenge") if isinstance(client, dict) else None
        if challenge != passkeys.encoded(hashlib.sha256(data).digest()):
            raise Untrusted("the passkey signed another challenge than this one")
        return self.evidence


def request_options(data: bytes, known: Iterable[Credential], proof: Proof) -> dict[str, Any]:
    """Return the options by which one of the known passkeys signs these bytes. Raises Invalid without a passkey.

    One RP ID: that of the passkey enrolled last, for a page belongs to one.
    """
    found = [one for one in known if one.method == "passkey" and strength(one.proof) >= strength(proof)]
    if not found:
        which = "passkey" if proof == "key" else f"passkey that proves {proof}"
        raise Invalid(f"no {which} is enrolled: `writ credential challenge` begins an enrolment")
    rp_id = found[-1].rp_id
    return {
        "challenge": passkeys.encoded(hashlib.sha256(data).digest()),
        "rpId": rp_id,
        "allowCredentials": [{"type": "public-key", "id": one.credential_id} for one in found if one.rp_id == rp_id],
        "userVerification": "required" if proof == "verified" else "preferred",
        "timeout": SECONDS * 1000,
    }


def creation_options(
    challenge: bytes, person: str, party: RelyingParty, known: Iterable[Credential], *, attested: bool
) -> dict[str, Any]:
    """Return the options by which a browser makes a passkey of this person. `known`: the passkeys they have.

    `attested`: with its maker's attestation, which browsers ask the person about.
    """
    own = [one for one in known if one.method == "passkey" and one.person == person]
    return {
        "challenge": passkeys.encoded(challenge),
        "rp": {"id": party.rp_id, "name": "Writ"},
        "user": {"id": passkeys.encoded(person.encode()), "name": person, "displayName": person},
        "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in PREFERRED],
        "excludeCredentials": [{"type": "public-key", "id": one.credential_id} for one in own],
        "authenticatorSelection": {"userVerification": "preferred"},
        "attestation": "direct" if attested else "none",
        "timeout": SECONDS * 1000,
    }


def read_assertion(data: bytes, known: Iterable[Credential]) -> PasskeyAssertion:
    """Return the assertion of one of the known passkeys. Raises Invalid."""
    answer = _browser_response(
        data, AssertionJson, "an assertion, as `PublicKeyCredential.toJSON()` gives it after `get`"
    )
    found = next((one for one in known if one.method == "passkey" and one.credential_id == answer.id), None)
    if found is None:
        raise Invalid(f"the assertion is of passkey {answer.id[:64]!r}, which is not enrolled here")
    evidence = PasskeyEvidence(
        credential_id=answer.id,
        authenticator_data=answer.response.authenticator_data,
        client_data=answer.response.client_data_json,
        signature=answer.response.signature,
    )
    return PasskeyAssertion(id=found.id, evidence=msgspec.convert(msgspec.to_builtins(evidence), PasskeyEvidence))


def read_registration(
    data: bytes, person: str, proof: Proof, parties: Sequence[RelyingParty], challenge: bytes, label: str = ""
) -> tuple[Credential, PasskeyAttestation | None]:
    """Return the credential of a new passkey, and the maker's attestation where the browser passed one on.

    Raises Invalid or Untrusted for a registration of another challenge, or at no recorded relying party.
    """
    answer = _browser_response(
        data, RegistrationJson, "a registration, as `PublicKeyCredential.toJSON()` gives it after `create`"
    )
    found = read_attestation_object(passkeys.decoded(answer.response.attestation_object))
    if not isinstance(found["authData"], bytes):
        raise Untrusted("the registration has no authenticator data")
    registered = read_registered(found["authData"])
    credential = _credential(registered, person, proof, parties, label)
    if answer.id != credential.credential_id:
        raise Untrusted("the registration is of another passkey than its authenticator data")
    client_data = answer.response.client_data_json
    passkeys.check_client_data(passkeys.decoded(client_data), credential, "webauthn.create", challenge)
    vouched = found["fmt"] == "packed" and isinstance(found["attStmt"], dict) and "x5c" in found["attStmt"]
    attestation = PasskeyAttestation(attestation_object=answer.response.attestation_object, client_data=client_data)
    return credential, attestation if vouched else None


def _credential(
    registered: RegisteredKey, person: str, proof: Proof, parties: Sequence[RelyingParty], label: str
) -> Credential:
    hashed = {hashlib.sha256(one.rp_id.encode()).digest(): one.rp_id for one in parties}
    if registered.rp_id_hash not in hashed:
        raise Untrusted("the passkey is of no relying party of this installation: `writ credential relying-party`")
    rp_id = hashed[registered.rp_id_hash]
    draft = Credential(
        id="draft",
        person=person,
        method="passkey",
        key=passkeys.spki(registered.algorithm, registered.raw),
        proof=proof,
        label=label,
        credential_id=passkeys.encoded(registered.credential_id),
        algorithm=registered.algorithm,
        rp_id=rp_id,
        origins=[one.origin for one in parties if one.rp_id == rp_id],
    )
    return structs.replace(draft, id=key_digest(draft))


def _browser_response(data: bytes, kind: type[Any], name: str) -> Any:
    if len(data) > LARGEST_ANSWER:
        raise Invalid(f"the answer has {len(data)} bytes, at most {LARGEST_ANSWER} are read")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"not {name}: {error}") from error
