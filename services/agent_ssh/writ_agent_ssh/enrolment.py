"""`python -m writ_agent_ssh.enrolment`: SSH data for `writ target add`, as JSON. It decides nothing.

`host-key HOST PORT`: the key shown by the host to a stranger, for a person to compare. `new-key COMMENT`: a key pair.
`read-key`: the public half of a private key on standard input; `read-key-with-passphrase`: its first line is that.
`fingerprint`: of a host key line there. `sudoers USER`: the rule of sudo for a user of a host. `resolve ALIAS CONFIG`:
the address of an alias of ssh_config(5). `leftovers`: traces of Writ on a host, by a request on standard input.
"""

import asyncio
import sys

import asyncssh
import msgspec

from writ_agent.json_answers import Answers, write_answer
from writ_agent_ssh.connection import algorithms
from writ_agent_ssh.connection.link import tell_why, translated
from writ_agent_ssh.leftovers import CleaningRequest, read_or_remove
from writ_agent_ssh.startup import sudo
from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.host_addresses import host_and_port

SECONDS = 10.0


async def shown(host: str, port: int) -> dict[str, str]:
    """Return the host key in the format of known_hosts, without the name. Raises Unreachable, Untrusted
    (`weak_algorithms`).
    """
    where = host_and_port(host, port)
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
        await tell_why(host_and_port(host, port), await asyncio.open_connection(host, port), {})
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


def _read_key(passphrase: bytes = b"") -> dict[str, str]:
    try:
        return public_key(asyncssh.import_private_key(sys.stdin.buffer.read(), passphrase or None))
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        text = str(error)
        advice = "; --passphrase-file FILE" if "Passphrase" in text else ""
        raise Invalid(f"it is not a readable private key: {text}{advice}", code="no_credentials") from error


def _read_encrypted_key() -> dict[str, str]:
    return _read_key(sys.stdin.buffer.readline().rstrip(b"\n"))


def _resolve(alias: str, config: str) -> dict[str, str]:
    """Return the address of an alias of ssh_config(5). Raises Invalid for one that is not there, or has another way
    than a direct connection.
    """
    try:
        found, usual = (_named(alias, files) for files in ([config], None))
    except (asyncssh.Error, OSError, ValueError) as error:
        raise Invalid(f"{config}: {error}", code="invalid_connection") from error
    if found.tunnel or found.proxy_command:
        advice = "declare connection.jump in inventory.yaml instead"
        raise Invalid(f"{alias} has a ProxyJump or ProxyCommand in {config}: {advice}", code="invalid_connection")
    if (found.host, found.port, found.username) == (usual.host, usual.port, usual.username):
        raise Invalid(f"{alias} is not USER@HOST[:PORT], and {config} has no such host", code="invalid_connection")
    return {"host": str(found.host), "user": str(found.username), "port": str(found.port)}


def _leftovers() -> dict[str, str]:
    return asyncio.run(read_or_remove(msgspec.json.decode(sys.stdin.buffer.read(), type=CleaningRequest)))


def _named(alias: str, files: list[str] | None) -> asyncssh.SSHClientConnectionOptions:
    return asyncssh.SSHClientConnectionOptions(host=alias, config=files, known_hosts=None, client_keys=None)


def _fingerprint() -> dict[str, str]:
    line = sys.stdin.read().strip()
    try:
        return public_key(asyncssh.import_public_key(line))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Invalid(f"it is not a host key in the format of OpenSSH: {error}", code="invalid_known_hosts") from error


def _sudoers(user: str) -> dict[str, str]:
    return {"rule": sudo.rule(user)}


ANSWERS: Answers = {
    "host-key": _host_key,
    "new-key": _new_key,
    "read-key": _read_key,
    "fingerprint": _fingerprint,
    "read-key-with-passphrase": _read_encrypted_key,
    "leftovers": _leftovers,
    "resolve": _resolve,
    "sudoers": _sudoers,
}


def main() -> None:
    """Write one answer to standard output."""
    write_answer(ANSWERS, sys.argv[1:])


if __name__ == "__main__":
    main()
