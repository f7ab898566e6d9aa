"""`python -m writ_agent_ssh.enrolment`: SSH data for `writ target add`, as JSON. It decides nothing.

`host-key HOST PORT`: the key that the host shows to a stranger, for a person to compare. `new-key COMMENT`: a key pair.
`read-key`: the public half of a private key on standard input. `fingerprint`: of a host key line there.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping

import asyncssh
import msgspec

from writ_agent_ssh import algorithms
from writ_agent_ssh.link import tell_why, translated
from writ_contracts.errors import Invalid, Unreachable, WritError

SECONDS = 10.0


async def shown(host: str, port: int) -> dict[str, str]:
    """Return the host key in the format of known_hosts, without the name. Raises Unreachable, Untrusted
    (`weak_algorithms`).
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(SECONDS):
            with translated(where):
                key = await _scanned(host, port)
    except TimeoutError:
        raise Unreachable(f"{where} did not show a key within {SECONDS:g} s", code="unreachable") from None
    if key is None:
        raise Unreachable(f"{where} shows no host key", code="unreachable")
    return public_key(key)


async def _scanned(host: str, port: int) -> asyncssh.SSHKey | None:
    try:
        return await asyncssh.get_server_host_key(
            host, port, config=None, server_host_key_algs=list(algorithms.HOST_KEYS)
        )
    except (asyncssh.ConnectionLost, ConnectionResetError):
        await tell_why(f"{host}:{port}", await asyncio.open_connection(host, port), {})
        raise


def public_key(key: asyncssh.SSHKey) -> dict[str, str]:
    """Return a public key: its line without a comment, and its fingerprint."""
    words = key.export_public_key("openssh").decode().split()
    return {"line": " ".join(words[:2]), "fingerprint": key.get_fingerprint()}


def _host_key(host: str, port: str) -> dict[str, str]:
    return asyncio.run(shown(host, int(port)))


def _new_key(comment: str) -> dict[str, str]:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return {**public_key(key), "private": key.export_private_key("openssh").decode()}


def _read_key() -> dict[str, str]:
    try:
        return public_key(asyncssh.import_private_key(sys.stdin.buffer.read()))
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise Invalid(f"it is no private key without a passphrase: {error}", code="no_credentials") from error


def _fingerprint() -> dict[str, str]:
    line = sys.stdin.read().strip()
    try:
        return public_key(asyncssh.import_public_key(line))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Invalid(f"it is no host key as ssh writes it: {error}", code="invalid_known_hosts") from error


ANSWERS: Mapping[str, Callable[..., dict[str, str]]] = {
    "host-key": _host_key,
    "new-key": _new_key,
    "read-key": _read_key,
    "fingerprint": _fingerprint,
}


def main() -> None:
    """Write one answer to standard output; a refusal is an answer too."""
    try:
        answer = ANSWERS[sys.argv[1]](*sys.argv[2:])
    except WritError as error:
        answer = {"code": error.code, "error": str(error)}
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    main()
