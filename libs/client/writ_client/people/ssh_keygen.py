"""Signatures of security keys by OpenSSH's own `ssh-keygen -Y sign`, which asks for the touch and the PIN.

Writ never sees the private half. The key may also be in an agent (`SSH_AUTH_SOCK`): then its public file is enough.
"""

import asyncio
from pathlib import Path

from msgspec import Struct, structs

from writ_contracts.errors import Invalid, Unreachable, Untrusted
from writ_contracts.people.credentials import SSH_NAMESPACE, Credential, Proof, SshEvidence
from writ_trust.presence.proofs import key_digest

SECONDS = 120.0
"""For a person to find the security key and to touch it."""


class SshKey(Struct, frozen=True, kw_only=True):
    """A key file of OpenSSH. `line`: the content of its public file; `id`: the id of its credential."""

    file: Path
    line: str
    id: str

    async def sign(self, data: bytes) -> SshEvidence:
        """Return the signature of exactly these bytes. Raises Unreachable without ssh-keygen, Untrusted where it made
        none.
        """
        command = ("ssh-keygen", "-Y", "sign", "-q", "-n", SSH_NAMESPACE, "-f", str(self.file))
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        except OSError as error:
            raise Unreachable(f"ssh-keygen cannot be started: {error.strerror}") from error
        try:
            out, _ = await asyncio.wait_for(process.communicate(data), SECONDS)
        except TimeoutError:
            raise Untrusted(f"nobody touched the security key within {SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:  # nobody touched the key, or the caller gave up
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Untrusted(f"ssh-keygen made no signature with {self.file} (status {process.returncode})")
        return SshEvidence(armored=out.decode("ascii", "replace"))


def read_ssh_key(file: Path) -> SshKey:
    """Return the security key of this file, private or public. Raises Invalid where it is no security key."""
    public = file if file.suffix == ".pub" else file.with_name(f"{file.name}.pub")
    try:
        line = public.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{public}: the public half of the key cannot be read: {error}") from error
    try:
        return SshKey(file=file, line=line, id=key_digest(ssh_credential("any", line)))
    except Untrusted as error:
        raise Invalid(f"{public}: {error}; `ssh-keygen -t ed25519-sk` makes one") from error


def ssh_credential(person: str, line: str, proof: Proof = "touch", *, label: str = "") -> Credential:
    """Return the credential of this public key, with its id."""
    draft = Credential(id="draft", person=person, method="ssh", key=line, proof=proof, label=label)
    return structs.replace(draft, id=key_digest(draft))
