"""The key pair with which one connection logs in: from its file, or signing by an ssh-agent."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh

from writ_agent_ssh.connection.credentials import SshCredential
from writ_contracts.errors import Invalid

PASSPHRASE_ADVICE = "give its passphrase in a file beside it, named as the key with .passphrase, mode 0600"


async def client_key(credential: SshCredential, opened: AsyncExitStack) -> object:
    """Return the key pair for asyncssh. A connection to an ssh-agent stays open as long as `opened`. Raises Invalid
    (`no_credentials`).
    """
    if credential.agent is not None:
        return await _held_key(credential, credential.agent, opened)
    try:
        key = await _private_key(credential)
        return (key, asyncssh.import_certificate(credential.certificate)) if credential.certificate else key
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise Invalid(
            f"the key or certificate is not in a format of OpenSSH: {explained(error)}", code="no_credentials"
        ) from error


def explained(error: Exception) -> str:
    """Return the text of asyncssh's error about a key, with what to do about a passphrase."""
    text = str(error)
    return f"{text}; {PASSPHRASE_ADVICE}" if "Passphrase" in text else text


async def _private_key(credential: SshCredential) -> asyncssh.SSHKey:
    if not credential.passphrase:
        return asyncssh.import_private_key(credential.key)
    # Deriving a key from a passphrase takes a while on purpose.
    return await asyncio.to_thread(asyncssh.import_private_key, credential.key, credential.passphrase)


async def _held_key(credential: SshCredential, socket: Path, opened: AsyncExitStack) -> asyncssh.SSHKeyPair:
    try:
        public = asyncssh.import_public_key(credential.public)
        agent = await opened.enter_async_context(asyncssh.SSHAgentClient(str(socket)))
        [pair] = await agent.get_keys([public.public_data])
        if credential.certificate:
            pair.set_certificate(asyncssh.import_certificate(credential.certificate))
    except OSError as error:
        raise Invalid(
            f"the ssh-agent at {socket} cannot be reached: {error.strerror}", code="no_credentials"
        ) from error
    except (asyncssh.KeyImportError, ValueError) as error:
        message = f"the ssh-agent at {socket} does not hold the target's key: ssh-add it there"
        raise Invalid(message, code="no_credentials") from error
    return pair
