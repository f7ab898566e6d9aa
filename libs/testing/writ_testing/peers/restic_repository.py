"""An empty repository of restic, made without restic, whose password costs nothing to check.

`restic init` measures how many rounds of scrypt take half a second and demands them of each later command: 2.3 s of
processor time for `init` and 0.4 s for every other command, many times what the command itself takes.
The format: https://restic.readthedocs.io/en/stable/100_references.html, "Repository Format".
"""

import os
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import scrypt, sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305
from msgspec import json

from writ_testing.peers.programs import program

ROUNDS = {"N": 2, "r": 1, "p": 1}
POLYNOMIAL = "3da3358b4dc173"
"""Irreducible, of degree 53: where restic cuts files into chunks."""
NONCE_BYTES, SALT_BYTES, KEY_BYTES = 16, 64, 64


def create_repository(folder: Path, password: str) -> bytes:
    """Create the repository in a new folder and return its master key. Skip the test if restic is not installed."""
    program("restic")
    for name in ("data", "index", "keys", "locks", "snapshots"):
        (folder / name).mkdir(mode=0o700, parents=True)
    master, salt = os.urandom(KEY_BYTES), os.urandom(SALT_BYTES)
    user = scrypt(password.encode(), salt=salt, n=ROUNDS["N"], r=ROUNDS["r"], p=ROUNDS["p"], dklen=KEY_BYTES)
    parts = {"mac": {"k": _text(master[32:48]), "r": _text(master[48:])}, "encrypt": _text(master[:32])}
    key = {"created": "2026-01-01T00:00:00Z", "kdf": "scrypt", **ROUNDS, "salt": _text(salt)}
    stored = json.encode(key | {"data": _text(_sealed(user, json.encode(parts)))})
    (folder / "keys" / sha256(stored).hexdigest()).write_bytes(stored)
    config = {"version": 2, "id": os.urandom(32).hex(), "chunker_polynomial": POLYNOMIAL}
    (folder / "config").write_bytes(_sealed(master, json.encode(config)))
    return master


def write_lock(folder: Path, master: bytes, *, hostname: str, uid: int, pid: int) -> Path:
    """Write an exclusive lock of now, as this process of a host would have it, and return its file."""
    now = datetime.now(UTC).isoformat()
    lock = {"time": now, "exclusive": True, "hostname": hostname, "username": "someone", "pid": pid, "uid": uid}
    stored = _sealed(master, json.encode(lock))
    path = folder / "locks" / sha256(stored).hexdigest()
    path.write_bytes(stored)
    return path


def _sealed(key: bytes, text: bytes) -> bytes:
    """Encrypt by AES-256-CTR with Poly1305-AES. `key`: 32 bytes for the former, then k and r of the latter."""
    nonce = os.urandom(NONCE_BYTES)
    hidden = Cipher(AES(key[:32]), CTR(nonce)).encryptor().update(text)
    pad = Cipher(AES(key[32:48]), ECB()).encryptor().update(nonce)
    return nonce + hidden + Poly1305.generate_tag(key[48:] + pad, hidden)


def _text(data: bytes) -> str:
    return b64encode(data).decode()
