"""An attestation holds for the credential, person and installation it was made for, by a recorded root."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from writ_contracts.errors import Untrusted
from writ_contracts.people.attestations import Attestation, AttestationRoot, SshAttestation
from writ_contracts.people.credentials import Credential
from writ_contracts.people.directory import CredentialEnrolment
from writ_testing.each_case import each_case
from writ_testing.fakes.attestation_authority import (
    AAGUID,
    AAGUID_OID,
    AttestationAuthority,
    cbor,
    passkey_attestation,
    ssh_attestation,
)
from writ_testing.fakes.security_key import PRESENT, VERIFIED, SoftwareSecurityKey, base64url
from writ_trust.keys import Key, generate_seed
from writ_trust.presence import cbor as reader
from writ_trust.presence.attestations import AttestedDevice, attestation_challenge, verify_attestation
from writ_trust.presence.certificates import read_authority
from writ_trust.presence.passkeys import decoded
from writ_trust.presence.proofs import key_digest

INSTALLATION, PEOPLE_KEY = "ab" * 16, Key(generate_seed()).public
NOW = datetime.now(UTC).timestamp()
ROOT, OTHER_ROOT = AttestationAuthority(), AttestationAuthority()
DEVICE = ROOT.device()
ED25519, ECDSA = SoftwareSecurityKey(), SoftwareSecurityKey("ecdsa")
CHALLENGE = attestation_challenge(INSTALLATION, PEOPLE_KEY, "alice")
every_key = pytest.mark.parametrize("key", [ED25519, ECDSA], ids=["ed25519", "ecdsa"])


def root(authority: AttestationAuthority = ROOT, **changed: Any) -> AttestationRoot:
    recorded = AttestationRoot(certificate=base64url(authority.der), recorded_at=NOW - 100)
    return structs.replace(recorded, **changed)


def enrolment(credential: Credential, attestation: Attestation | None, **changed: Any) -> CredentialEnrolment:
    named = structs.replace(credential, id=key_digest(credential))
    made = CredentialEnrolment(
        installation=INSTALLATION,
        people_key=PEOPLE_KEY,
        credential=named,
        issued_at=NOW,
        nonce="ab" * 32,
        attestation=attestation,
    )
    return structs.replace(made, **changed)


def verified(
    made: CredentialEnrolment, roots: Sequence[AttestationRoot] | None = None, at: float = NOW
) -> AttestedDevice:
    return verify_attestation(made, [root()] if roots is None else roots, at)


def by_ssh(
    key: SoftwareSecurityKey = ED25519, device: AttestationAuthority = DEVICE, **changed: Any
) -> CredentialEnrolment:
    return enrolment(key.ssh_credential(), ssh_attestation(device, key, CHALLENGE, **changed))


def by_passkey(
    key: SoftwareSecurityKey = ECDSA, device: AttestationAuthority = DEVICE, **changed: Any
) -> CredentialEnrolment:
    return enrolment(key.passkey_credential(), passkey_attestation(device, key, CHALLENGE, **changed))


def with_bits_as_country(device: AttestationAuthority) -> bytes:
    """The certificate with a BIT STRING (tag 3) in place of the text (tag 19) that its names have for the country."""
    return device.der.replace(b"\x13\x02SE", b"\x03\x02SE")


WAYS: Sequence[Callable[..., CredentialEnrolment]] = (by_ssh, by_passkey)
every_way = each_case("way", WAYS, ids=["ssh", "passkey"])


@every_way
@every_key
def test_an_attestation_names_model_and_root_of_the_device(way: Callable[..., CredentialEnrolment], key: Any) -> None:
    device = verified(way(key))
    assert device.aaguid == AAGUID.hex()
    assert "CN=Stand-in Root" in device.root
    assert verified(way(key, extensions=cbor({"credProtect": 3}))) == device
    without_model = ROOT.device(extensions=[])
    assert verified(way(key, without_model)) == device


@every_way
@each_case(
    ("roots", "at", "why"),
    [
        ([], NOW, "no recorded root"),
        ([root(OTHER_ROOT)], NOW, "no recorded root"),
        ([root(recorded_at=NOW + 1)], NOW, "no recorded root"),
        ([root(removed_at=NOW)], NOW, "no recorded root"),
        ([root()], NOW + 3651 * 86400, "was not valid"),
        ([root(recorded_at=1.0)], NOW - 31 * 86400, "was not valid"),
    ],
    ids=["none", "other", "recorded later", "removed", "expired", "not yet valid"],
)
def test_an_attestation_needs_a_root_that_counted_at_the_enrolment(
    way: Callable[..., CredentialEnrolment], roots: list[AttestationRoot], at: float, why: str
) -> None:
    with pytest.raises(Untrusted, match=why):
        verified(way(), roots, at)
    assert verified(way(), [root(OTHER_ROOT), root(removed_at=NOW + 1)]).aaguid == AAGUID.hex()


@every_way
def test_an_attestation_with_an_expired_device_certificate_is_refused(way: Callable[..., CredentialEnrolment]) -> None:
    with pytest.raises(Untrusted, match=r"Stand-in Device.* was not valid"):
        verified(way(device=ROOT.device(days=(-30, -1))))
    old = AttestationAuthority(days=(-30, -1))
    with pytest.raises(Untrusted, match=r"Stand-in Root.* was not valid"):
        verified(way(device=old.device()), [root(old)])


@every_way
@pytest.mark.parametrize(
    "changed",
    [{"person": "bob"}, {"installation": "cd" * 16}, {"people_key": Key(generate_seed()).public}],
    ids=["person", "installation", "people-key"],
)
def test_an_attestation_for_another_challenge_is_refused(
    way: Callable[..., CredentialEnrolment], changed: dict[str, Any]
) -> None:
    made = way()
    if "person" in changed:
        changed = {"credential": structs.replace(made.credential, person="bob")}
    with pytest.raises(Untrusted, match="challenge"):
        verified(structs.replace(made, **changed))


@every_way
def test_an_attestation_of_another_key_is_refused(way: Callable[..., CredentialEnrolment]) -> None:
    moved = structs.replace(way(ED25519), attestation=way(ECDSA).attestation)
    with pytest.raises(Untrusted, match="of another key than the credential's"):
        verified(moved)
    with pytest.raises(Untrusted, match="another key, or another challenge"):
        verified(structs.replace(way(), attestation=_signed_by_another(way)))


def _signed_by_another(way: Callable[..., CredentialEnrolment]) -> Attestation:
    """The certificate of one device beside the signature of another one."""

    class Mixed(AttestationAuthority):
        @property
        def der(self) -> bytes:
            return DEVICE.der

    attestation = way(device=Mixed()).attestation
    assert attestation is not None
    return attestation


@every_way
@each_case(
    ("changed", "why"),
    [
        ({"flags": VERIFIED}, "nobody touched"),
        ({"flags": PRESENT}, "made with touch, and is to be enrolled for verified"),
        ({"flags": PRESENT | VERIFIED | 0x08}, "may be copied to other devices"),
        ({"aaguid": bytes(16)}, "another model"),
        ({"device": ROOT.device(aaguid=bytes(16))}, "another model"),
        ({"device": ROOT.device(ca=True)}, "is one of a certificate authority"),
        ({"device": ROOT.device(unit="Something")}, "unit is not"),
        ({"device": ROOT.device(extensions=[(x509.UnrecognizedExtension(AAGUID_OID, AAGUID), False)])}, "model"),
        ({"device": ROOT.device(extensions=[(x509.UnrecognizedExtension(AAGUID_OID, b""), True)])}, "critical"),
        ({"device": OTHER_ROOT.device()}, "no recorded root"),
        ({"extensions": b"\xff"}, "CBOR"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_an_attestation_with_a_wrong_flag_model_or_extension_is_refused(
    way: Callable[..., CredentialEnrolment], changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(Untrusted, match=why):
        verified(way(**changed))


def test_an_attestation_made_with_a_touch_is_worth_a_touch() -> None:
    touched = ssh_attestation(DEVICE, ED25519, CHALLENGE, flags=PRESENT)
    assert verified(enrolment(ED25519.ssh_credential(proof="touch"), touched)).aaguid == AAGUID.hex()


@each_case(
    ("changed", "why"),
    [
        ({"client": {"type": "webauthn.get"}}, "is not webauthn.create"),
        ({"client": {"origin": "https://evil.example"}}, "not an origin of the credential"),
        ({"client": {"challenge": base64url(bytes(32))}}, "challenge"),
        ({"client": {"crossOrigin": True}}, "frame"),
        ({"credential_id": b"another"}, "another passkey"),
        ({"form": "none", "statement": {}}, "not of format packed"),
        ({"statement": {"alg": -7, "sig": b""}}, "not of format packed"),
        ({"statement": {"alg": -7, "sig": b"", "x5c": []}}, "0 certificates"),
        ({"statement": {"alg": -7, "sig": b"", "x5c": [b"x"]}}, "not a certificate"),
        ({"statement": {"alg": -7, "sig": b"", "x5c": [with_bits_as_country(DEVICE)]}}, "not a certificate"),
        ({"statement": {"alg": -8, "sig": b"", "x5c": [DEVICE.der]}}, "algorithm -8"),
        ({"statement": {"alg": -7, "sig": b"", "x5c": [DEVICE.der]}}, "another key, or another challenge"),
        ({"statement": {"alg": -7, "sig": b"", "x5c": [DEVICE.der], "more": 1}}, "not of format packed"),
        ({"chain": [OTHER_ROOT] * 4}, "5 certificates"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_a_passkeys_attestation_with_a_wrong_field_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(Untrusted, match=why):
        verified(by_passkey(**changed))


def test_self_attestation_of_a_passkey_is_refused() -> None:
    data = reader.read(decoded(by_passkey().attestation.attestation_object))["authData"]  # type: ignore[union-attr]
    itself = {"alg": -7, "sig": ECDSA._signature(data), "x5c": [ROOT.device(unit="x").der]}
    del itself["x5c"]
    with pytest.raises(Untrusted, match="not of format packed with its maker's certificates"):
        verified(by_passkey(statement=itself))


def test_a_chain_over_an_authority_between_leads_to_the_root() -> None:
    between = AttestationAuthority("Between", issuer=ROOT, path_length=0)
    assert "Stand-in Root" in verified(by_passkey(device=between.device(), chain=[between])).root
    assert "Between" in verified(by_passkey(device=between.device(), chain=[between]), [root(between)]).root
    assert "Between" in verified(by_ssh(device=between.device()), [root(between)]).root
    deeper = AttestationAuthority("Deeper", issuer=between)
    with pytest.raises(Untrusted, match="may not issue a chain of this length"):
        verified(by_passkey(device=deeper.device(), chain=[deeper, between]))
    with pytest.raises(Untrusted, match="no recorded root issued CN=Stand-in Device"):
        verified(by_passkey(device=between.device(), chain=[OTHER_ROOT]))
    no_authority = AttestationAuthority("None", issuer=ROOT, ca=False)
    with pytest.raises(Untrusted, match="not one of a certificate authority"):
        verified(by_passkey(device=no_authority.device(), chain=[no_authority]))
    usage = x509.KeyUsage(*[True] + [False] * 8)
    no_signer = AttestationAuthority("None", issuer=ROOT, extensions=[(usage, True)])
    with pytest.raises(Untrusted, match="may not sign certificates"):
        verified(by_passkey(device=no_signer.device(), chain=[no_signer]))


def test_a_recorded_root_is_a_certificate_authority() -> None:
    assert "CN=Stand-in Root" in read_authority(ROOT.der)
    for wrong in (DEVICE.der, b"", ROOT.pem, with_bits_as_country(ROOT)):
        with pytest.raises(Untrusted):
            read_authority(wrong)


@every_way
@pytest.mark.filterwarnings("ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=40)
@given(st.data())
def test_any_changed_byte_of_an_attestation_is_refused(way: Callable[..., CredentialEnrolment], data: Any) -> None:
    attestation = MADE[way].attestation
    assert attestation is not None
    name = data.draw(st.sampled_from(attestation.__struct_fields__))
    changed = structs.replace(attestation, **{name: _changed(getattr(attestation, name), data)})
    with pytest.raises(Untrusted):
        verified(structs.replace(MADE[way], attestation=changed))


MADE = {way: way() for way in WAYS}


def _changed(text: str, data: Any) -> str:
    blob = bytearray(decoded(text))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    return base64url(bytes(blob))


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_any_bytes_as_an_attestation_are_refused(blob: bytes) -> None:
    for attestation in (
        SshAttestation(data=base64url(blob)),
        structs.replace(MADE[by_passkey].attestation, attestation_object=base64url(blob)),  # type: ignore[type-var]
    ):
        with pytest.raises(Untrusted):
            verified(structs.replace(MADE[by_passkey], attestation=attestation))


PLAIN = st.integers(-(2**31), 2**31) | st.binary(max_size=300) | st.sampled_from(["", "ä" * 200])


@settings(max_examples=40)
@given(PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.integers(-9, 9), PLAIN, max_size=3))
def test_cbor_is_read_as_it_was_written(value: Any) -> None:
    assert reader.read(cbor(value)) == value


def test_cbor_nested_too_deep_is_refused() -> None:
    with pytest.raises(Untrusted, match="nested more than"):
        reader.read(cbor([[[[1]]]]))


@each_case(
    "data",
    [
        *("", "18", "1817", "190017", "1a00000001", "1b0000000000000001", "5f41004100ff", "9f00ff", "f97e00", "c000"),
        *("62ff00", "a2000000", "a2000100020003", "a1f400", "0000", "1c", "4300", "e0", "f8ff", "f7"),
    ],
)
def test_cbor_in_another_form_or_without_end_is_refused(data: str) -> None:
    with pytest.raises(Untrusted):
        reader.read(bytes.fromhex(data))
