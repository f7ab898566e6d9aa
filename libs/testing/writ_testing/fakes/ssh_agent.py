"""An agent of OpenSSH that holds security keys in software (draft-miller-ssh-agent): `ssh-keygen` signs by it as by a
token that somebody touches, with any flags.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from writ_testing.fakes.security_key import SoftwareSecurityKey, ssh_string

REQUEST_IDENTITIES, IDENTITIES, SIGN_REQUEST, SIGNED, FAILURE = 11, 12, 13, 14, 5


class SoftwareSshAgent:
    """Answers on a socket, for `SSH_AUTH_SOCK`. `flags`: those of each signature from now on."""

    def __init__(self, flags: int) -> None:
        self._keys: dict[bytes, SoftwareSecurityKey] = {}
        self.flags = flags

    def add(self, key: SoftwareSecurityKey) -> None:
        self._keys[key.blob] = key

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                answer = self._respond(await reader.readexactly(size))
                writer.write(len(answer).to_bytes(4, "big") + answer)
                await writer.drain()
        writer.close()

    def _respond(self, message: bytes) -> bytes:
        if message[0] == REQUEST_IDENTITIES:
            known = b"".join(ssh_string(blob) + ssh_string(b"software") for blob in self._keys)
            return bytes([IDENTITIES]) + len(self._keys).to_bytes(4, "big") + known
        blob, rest = _string(message[1:]) if message[0] == SIGN_REQUEST else (b"", b"")
        if blob not in self._keys:
            return bytes([FAILURE])
        data, _ = _string(rest)
        return bytes([SIGNED]) + ssh_string(
            self._keys[blob].token_signature(data, flags=self.flags, counter=self._keys[blob].next_counter())
        )


def _string(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    return data[4 : 4 + size], data[4 + size :]


@asynccontextmanager
async def running_ssh_agent(socket: Path, agent: SoftwareSshAgent) -> AsyncIterator[SoftwareSshAgent]:
    """Serve on this socket within the block."""
    server = await asyncio.start_unix_server(agent.serve, socket)
    try:
        yield agent
    finally:
        server.close()
