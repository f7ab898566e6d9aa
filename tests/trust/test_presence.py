"""Proof of presence: a security key's signature holds for its bytes alone, and every change of it is refused."""

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from writ_contracts.errors import Untrusted
from writ_contracts.people.credentials import Credential, Evidence, KeyEvidence, PasskeyEvidence, Proof, SshEvidence
from writ_contracts.wire import decode, encode
from writ_testing.each_case import each_case
from writ_testing.fakes.security_key import (
    NAMESPACE,
    PRESENT,
    VERIFIED,
    RsaPasskey,
    SoftwareSecurityKey,
    armored,
    base64url,
    ssh_string,
    unarmored,
)
from writ_trust.keys import Key, generate_seed
from writ_trust.presence.passkeys import public_key
from writ_trust.presence.proofs import key_digest, verify_proof

DATA = b'writ/approval/v1\0{"decision":"approve","operation_id":"abc"}'
OTHER = b'writ/approval/v1\0{"decision":"approve","operation_id":"abd"}'
ED25519, ECDSA = SoftwareSecurityKey("ed25519"), SoftwareSecurityKey("ecdsa")
RSA = RsaPasskey()
PASSKEYS = {"ed25519": ED25519, "ecdsa": ECDSA, "rsa": RSA}
every_key = pytest.mark.parametrize("key", [ED25519, ECDSA], ids=["ed25519", "ecdsa"])
every_passkey = pytest.mark.parametrize("key", PASSKEYS.values(), ids=PASSKEYS)


def refused(evidence: Evidence, credential: Credential, match: str, level: Proof = "touch", data: bytes = DATA) -> None:
    with pytest.raises(Untrusted, match=match):
        verify_proof(level, evidence, credential, data)


@every_key
def test_a_security_keys_signature_proves_what_its_flags_state(key: SoftwareSecurityKey) -> None:
    credential = key.ssh_credential()
    proven = verify_proof("verified", key.sign_ssh(DATA), credential, DATA)
    assert (proven.proof, proven.credential, proven.counter) == ("verified", "alice-ssh", 7)
    assert verify_proof("key", key.sign_ssh(DATA, flags=PRESENT, algorithm="sha256"), credential, DATA).proof == "touch"


@every_passkey
def test_a_passkeys_assertion_proves_what_its_flags_state(key: SoftwareSecurityKey) -> None:
    credential = key.passkey_credential()
    assert verify_proof("verified", key.assertion(DATA), credential, DATA).proof == "verified"
    assert verify_proof("touch", key.assertion(DATA, flags=PRESENT), credential, DATA).proof == "touch"
    extended = key.assertion(DATA, flags=PRESENT | 0x18 | 0x80, extensions=b"\xa0", client={"more": 1})
    assert verify_proof("touch", extended, credential, DATA).counter == 9


def test_an_nkeys_signature_proves_the_key_alone() -> None:
    key = Key(generate_seed())
    credential = Credential(id="alice-nkey", person="alice", method="nkey", key=key.public, proof="verified")
    evidence = KeyEvidence(signature=base64url(key.sign(DATA)))
    assert verify_proof("key", evidence, credential, DATA).proof == "key"
    refused(evidence, credential, "touch is required, and the signature proves only key")
    refused(evidence, credential, "is not valid", "key", OTHER)


@every_key
def test_proof_is_limited_to_the_level_of_the_enrolment(key: SoftwareSecurityKey) -> None:
    enrolled = key.ssh_credential(proof="touch")
    assert verify_proof("touch", key.sign_ssh(DATA), enrolled, DATA).proof == "touch"
    refused(key.sign_ssh(DATA), enrolled, "enrolled for touch at most", "verified")
    refused(key.assertion(DATA), key.passkey_credential(proof="key"), "enrolled for key at most")


@every_key
@pytest.mark.parametrize(("flags", "level"), [(0, "key"), (VERIFIED, "key"), (PRESENT, "verified")])
def test_a_cleared_flag_is_refused(key: SoftwareSecurityKey, flags: int, level: Proof) -> None:
    match = "nobody touched" if not flags & PRESENT else "verified is required"
    refused(key.sign_ssh(DATA, flags=flags), key.ssh_credential(), match, level)
    refused(key.assertion(DATA, flags=flags), key.passkey_credential(), match, level)


@every_key
def test_another_text_or_namespace_is_refused(key: SoftwareSecurityKey) -> None:
    credential = key.ssh_credential()
    refused(key.sign_ssh(OTHER), credential, "is not valid")
    refused(key.sign_ssh(DATA, namespace="git"), credential, "another namespace")
    refused(key.sign_ssh(DATA, namespace="writ-approval2"), credential, "another namespace")
    refused(key.sign_ssh(DATA, reserved=b"x"), credential, "reserved")


def test_another_persons_security_key_is_refused() -> None:
    refused(SoftwareSecurityKey().sign_ssh(DATA), ED25519.ssh_credential(), "another key")
    moved = unarmored(SoftwareSecurityKey().sign_ssh(DATA).armored)
    own = unarmored(ED25519.sign_ssh(DATA).armored)
    swapped = own[: own.index(ssh_string(NAMESPACE.encode()))] + moved[moved.index(ssh_string(NAMESPACE.encode())) :]
    refused(SshEvidence(armored=armored(swapped)), ED25519.ssh_credential(), "is not valid")


def test_a_key_for_another_application_is_another_key() -> None:
    web = SoftwareSecurityKey(application="https://elsewhere.example")
    line = web.line.split()
    blob = base64.b64decode(line[1]).replace(ssh_string(b"https://elsewhere.example"), ssh_string(b"ssh:"))
    claimed = f"{line[0]} {base64.b64encode(blob).decode()}"
    refused(web.sign_ssh(DATA), structs.replace(web.ssh_credential(), key=claimed), "another key")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_file_key_that_claims_touch_is_refused(tmp_path: Path, kind: str) -> None:
    ssh_keygen("-q", "-t", kind, "-N", "", "-f", str(tmp_path / "key"))
    (tmp_path / "text").write_bytes(DATA)
    ssh_keygen("-Y", "sign", "-n", NAMESPACE, "-f", str(tmp_path / "key"), str(tmp_path / "text"))
    line = (tmp_path / "key.pub").read_text()
    credential = Credential(id="alice-file", person="alice", method="ssh", key=line, proof="verified")
    refused(SshEvidence(armored=(tmp_path / "text.sig").read_text()), credential, "is not a security key's", "key")
    with pytest.raises(Untrusted, match="is not a security key's"):
        key_digest(credential)


def test_a_file_keys_signature_under_a_security_keys_name_is_refused() -> None:
    """The flags are part of a device's signed bytes: a plain Ed25519 signature followed by flags is invalid."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    file_key = Ed25519PrivateKey.generate()
    kind = b"sk-ssh-ed25519@openssh.com"
    blob = ssh_string(kind) + ssh_string(file_key.public_key().public_bytes_raw()) + ssh_string(b"ssh:")
    fields = b"".join(map(ssh_string, (NAMESPACE.encode(), b"", b"sha512")))
    signature = file_key.sign(b"SSHSIG" + fields + ssh_string(hashlib.sha512(DATA).digest()))
    sealed = ssh_string(ssh_string(kind) + ssh_string(signature) + b"\x05\0\0\0\1")
    whole = b"SSHSIG\0\0\0\1" + ssh_string(blob) + fields + sealed
    line = f"{kind.decode()} {base64.b64encode(blob).decode()}"
    credential = Credential(id="x", person="alice", method="ssh", key=line, proof="verified")
    refused(SshEvidence(armored=armored(whole)), credential, "is not valid", "key")


@every_key
@given(st.data())
def test_any_changed_byte_of_an_ssh_signature_is_refused(key: SoftwareSecurityKey, data: Any) -> None:
    blob = bytearray(unarmored(SIGNED_SSH[key].armored))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    refused(SshEvidence(armored=armored(bytes(blob))), key.ssh_credential(), ".", "key")


@every_passkey
@given(st.data())
def test_any_changed_byte_of_an_assertion_is_refused(key: SoftwareSecurityKey, data: Any) -> None:
    name = data.draw(st.sampled_from(("credential_id", "authenticator_data", "client_data", "signature")))
    text = getattr(SIGNED_WEB[key], name)
    blob = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    changed = structs.replace(SIGNED_WEB[key], **{name: base64url(bytes(blob))})
    refused(changed, key.passkey_credential(), ".", "key")


SIGNED_SSH = {key: key.sign_ssh(DATA) for key in (ED25519, ECDSA)}
SIGNED_WEB = {key: key.assertion(DATA) for key in PASSKEYS.values()}


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_as_evidence_is_refused(text: str, other: str) -> None:
    refused(SshEvidence(armored=text), ED25519.ssh_credential(), ".", "key")
    refused(structs.replace(SIGNED_WEB[ED25519], client_data=text), ED25519.passkey_credential(), ".", "key")
    refused(structs.replace(SIGNED_WEB[ED25519], signature=other), ED25519.passkey_credential(), ".", "key")
    refused(KeyEvidence(signature=text), structs.replace(ED25519.ssh_credential(), method="nkey"), ".", "key")


@given(st.binary(max_size=300))
def test_any_bytes_as_an_ssh_signature_are_refused(blob: bytes) -> None:
    refused(SshEvidence(armored=armored(b"SSHSIG\0\0\0\1" + blob)), ED25519.ssh_credential(), ".", "key")


@each_case(
    ("change", "match"),
    [
        ({"client": {"type": "webauthn.create"}}, "webauthn.get"),
        ({"client": {"challenge": base64url(b"x" * 32)}}, "challenge"),
        ({"client": {"challenge": base64url(hashlib.sha256(OTHER).digest())}}, "challenge"),
        ({"client": {"challenge": base64url(hashlib.sha256(DATA).digest()) + "="}}, "challenge"),
        ({"client": {"origin": "https://writ.example.evil"}}, "origin"),
        ({"client": {"origin": "https://writ.example/"}}, "origin"),
        ({"client": {"origin": "http://writ.example"}}, "origin"),
        ({"client": {"origin": ["https://writ.example"]}}, "origin"),
        ({"client": {"crossOrigin": True}}, "frame"),
        ({"client": {"crossOrigin": 0}}, "frame"),
        ({"client": {"topOrigin": "https://writ.example"}}, "frame"),
        ({"rp_id": "example"}, "RP ID"),
        ({"flags": PRESENT | VERIFIED | 0x40}, "do not fit an assertion"),
        ({"flags": PRESENT | VERIFIED | 0x80}, "do not fit an assertion"),
        ({"extensions": b"\xa0"}, "do not fit an assertion"),
        ({"flags": PRESENT | VERIFIED | 0x10}, "backed up"),
        ({"person": "bob"}, "another passkey"),
        ({"client_data": b"[]"}, "not an object"),
        ({"client_data": b'{"type":"webauthn.get","type":"webauthn.get"}'}, "twice"),
        ({"client_data": b"{"}, "not JSON"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_an_assertion_with_a_true_signature_and_a_wrong_field_is_refused(change: dict[str, Any], match: str) -> None:
    for key in PASSKEYS.values():
        refused(key.assertion(DATA, **change), key.passkey_credential(), match, "key")


def test_a_passkeys_algorithm_is_the_one_of_its_enrolment() -> None:
    refused(ED25519.assertion(DATA), structs.replace(ED25519.passkey_credential(), algorithm=-7), "algorithm -7")
    refused(ECDSA.assertion(DATA), structs.replace(ECDSA.passkey_credential(), algorithm=-8), "algorithm -8")
    refused(ECDSA.assertion(DATA), structs.replace(ECDSA.passkey_credential(), algorithm=0), "algorithm 0")
    refused(ECDSA.assertion(DATA), structs.replace(ECDSA.passkey_credential(), algorithm=-257), "algorithm -257")
    refused(RSA.assertion(DATA), structs.replace(RSA.passkey_credential(), algorithm=-7), "algorithm -7")
    refused(ECDSA.assertion(DATA), structs.replace(ECDSA.passkey_credential(), credential_id=""), "another passkey")


def test_rsa_key_of_another_size_exponent_or_encoding_is_refused() -> None:
    for key in (RsaPasskey(bits=1024), RsaPasskey(exponent=3)):
        refused(key.assertion(DATA), key.passkey_credential(), "it needs 2048 to 4096 bits, and the exponent 65537")
    plain = base64url(public_key(RSA.passkey_credential()))  # RSAPublicKey, which is read as a key, too
    refused(RSA.assertion(DATA), structs.replace(RSA.passkey_credential(), key=plain), "not a SubjectPublicKeyInfo")


def test_evidence_of_another_method_is_refused() -> None:
    refused(ED25519.sign_ssh(DATA), ED25519.passkey_credential(), "does not match the method", "key")
    refused(ED25519.assertion(DATA), ED25519.ssh_credential(), "does not match the method", "key")
    refused(KeyEvidence(signature=""), ED25519.ssh_credential(), "does not match the method", "key")


@every_key
def test_one_key_has_one_digest_by_every_method(key: SoftwareSecurityKey) -> None:
    assert key_digest(key.ssh_credential()) == key_digest(key.passkey_credential("bob"))
    assert key_digest(key.ssh_credential()) != key_digest(SoftwareSecurityKey().ssh_credential())


def test_evidence_and_credential_survive_the_wire() -> None:
    for evidence in (SIGNED_SSH[ECDSA], SIGNED_WEB[ECDSA], SIGNED_WEB[RSA]):
        assert decode(encode(evidence), SshEvidence | PasskeyEvidence | KeyEvidence) == evidence  # type: ignore[arg-type]
    for key in PASSKEYS.values():
        assert decode(encode(key.passkey_credential()), Credential) == key.passkey_credential()


@every_key
@pytest.mark.parametrize("algorithm", ["sha512", "sha256"])
def test_stock_ssh_keygen_agrees(tmp_path: Path, key: SoftwareSecurityKey, algorithm: str) -> None:
    evidence = key.sign_ssh(DATA, algorithm=algorithm)
    assert verify_proof("verified", evidence, key.ssh_credential(), DATA).proof == "verified"
    assert stock_accepts(tmp_path, key, evidence, DATA)
    assert not stock_accepts(tmp_path, key, evidence, OTHER)
    assert not stock_accepts(tmp_path, key, key.sign_ssh(DATA, namespace="git"), DATA)
    for at in (-1, -5, -20, -40):  # counter, flags, signature
        blob = bytearray(unarmored(evidence.armored))
        blob[at] ^= 1
        changed = SshEvidence(armored=armored(bytes(blob)))
        assert not stock_accepts(tmp_path, key, changed, DATA)
        refused(changed, key.ssh_credential(), ".", "key")


def stock_accepts(folder: Path, key: SoftwareSecurityKey, evidence: SshEvidence, data: bytes) -> bool:
    """The verdict of OpenSSH's own verifier."""
    (folder / "signers").write_text(f"alice {key.line}\n")
    (folder / "sig").write_text(evidence.armored)
    command = ["-Y", "verify", "-n", NAMESPACE, "-I", "alice"]
    files = ["-f", str(folder / "signers"), "-s", str(folder / "sig")]
    return ssh_keygen(*command, *files, stdin=data, check=False).returncode == 0


def ssh_keygen(*words: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *words], input=stdin, capture_output=True, timeout=20, check=check)
