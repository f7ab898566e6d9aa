"""hostops on a host, kept open on one channel: concurrent requests by frames, one answer each.

When the channel is gone, pending requests raise `ConnectionDropped`: they may or may not have begun.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from writ_agent_ssh.connection.link import SshLink
from writ_agent_ssh.host_sessions.channel import ConnectionDropped, FrameChannel, HostMessage, PendingRequest, Progress
from writ_agent_ssh.host_sessions.quarantine import HostReading
from writ_agent_ssh.startup.archive import COMMAND, Archive
from writ_agent_ssh.startup.sudo import Sudo, SudoStart
from writ_bus import tasks
from writ_contracts.errors import Invalid, Unreachable
from writ_hostops.supervised import frames

PING_SECONDS = 30.0
ANSWER_SECONDS = 3.0
"""A host silent for so long during a wait counts as hanging."""


class HostSession(Protocol):
    """The port for hostops requests on one host. `boot_id` distinguishes boots of the host."""

    boot_id: str
    hello: HostMessage

    @property
    def lost(self) -> bool:
        """Return whether the session is unusable."""

    @property
    def busy(self) -> bool:
        """Return whether a request is pending."""

    async def run_request(
        self, request: Mapping[str, Any], progress: Progress, secrets: Collection[str], begun: Callable[[int], None]
    ) -> HostMessage:
        """Send one request of hostops. `begun` gets its tag, for `stop`. Raises ConnectionDropped. A cancel ends it
        on the host.
        """

    async def stop(self, tag: int, grace: float) -> bool:
        """End that request. Return whether nothing of it certainly runs. Raises as `answers`."""

    async def answers(self) -> None:
        """Wait for a sign of life. Raises ConnectionDropped, TimeoutError if the host hangs."""

    async def is_silent(self) -> bool:
        """Return whether the host sends nothing for `ANSWER_SECONDS` after a ping. Raises ConnectionDropped."""

    async def settle(self, operation_id: str, attempt: int, *, end: bool, grace: float = 1.0) -> HostMessage:
        """See writ_hostops.supervised.settlement. Raises ConnectionDropped."""

    def close(self) -> None:
        """Close the session. The host ends its reads and finishes its changes."""


class HostopsSession:
    """A HostSession by a hostops on the host."""

    def __init__(self, channel: FrameChannel, hello: HostMessage) -> None:
        self._channel = channel
        self.boot_id = str(hello.get("boot_id", ""))
        self.hello = hello
        self._pings = tasks.spawn(self._keep_pinging(), "ssh pings")

    @classmethod
    async def start(
        cls,
        link: SshLink,
        archive: Archive,
        folder: str,
        seconds: float,
        reading: HostReading,
        sudo: Sudo | None = None,
    ) -> "HostopsSession":
        """Start within so many seconds, as root by `sudo` if given. Raises Invalid (`no_python`, `unusable_folder`,
        `become_denied`, …), Unreachable (`garbled`, …).
        """
        nonce = secrets.token_hex(16)
        start = SudoStart(sudo, nonce) if sudo else None
        channel = FrameChannel(nonce, archive, folder, reading, start)
        try:
            async with asyncio.timeout(seconds):
                await link.channel(lambda: channel, sudo.command(nonce) if sudo else COMMAND)
                hello = await asyncio.shield(channel.hello)
            if sudo and hello.get("uid") != 0:
                raise Invalid("sudo started hostops as another user than root", code="become_denied")
        except TimeoutError:
            channel.close()
            text = f"hostops did not start on the host within {seconds:.0f} s: its Python or its login is slow"
            raise Unreachable(text, code="unreachable") from None
        except BaseException:
            channel.close()
            raise
        return cls(channel, hello)

    @property
    def lost(self) -> bool:
        return self._channel.gone

    @property
    def busy(self) -> bool:
        return self._channel.busy

    async def run_request(
        self, request: Mapping[str, Any], progress: Progress, secrets: Collection[str], begun: Callable[[int], None]
    ) -> HostMessage:
        parameters = request["parameters"]
        bare = {name: value for name, value in request.items() if name != "parameters"}
        return await self._request(
            frames.REQUEST, {"request": bare, "parameters": parameters}, progress, secrets, begun
        )

    async def stop(self, tag: int, grace: float) -> bool:
        await self.answers()
        reply = await self._request(frames.STOP, {"of": tag, "grace": grace})
        return bool(reply.get("certain"))

    async def answers(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._request(frames.PING, {})

    async def is_silent(self) -> bool:
        asked = asyncio.get_running_loop().time()
        try:
            await self.answers()
        except TimeoutError:
            return self._channel.heard_at < asked
        return False

    async def settle(self, operation_id: str, attempt: int, *, end: bool, grace: float = 1.0) -> HostMessage:
        return await self._request(frames.SETTLE, {"id": operation_id, "attempt": attempt, "end": end, "grace": grace})

    def close(self) -> None:
        self._pings.cancel()
        self._channel.close()

    async def _request(
        self,
        kind: bytes,
        message: Mapping[str, Any],
        progress: Progress = lambda _: None,
        secrets: Collection[str] = (),
        begun: Callable[[int], None] = lambda _: None,
    ) -> HostMessage:
        pending = PendingRequest(progress, secrets)
        tag = self._channel.post(kind, message, pending)
        begun(tag)
        try:
            return await pending.answer
        except asyncio.CancelledError:
            if kind == frames.REQUEST and not self.lost:
                self._channel.post(frames.STOP, {"of": tag, "grace": 0.0}, PendingRequest(progress, ()))
            raise
        finally:
            self._channel.forget(tag)

    async def _keep_pinging(self) -> None:
        while not self.lost:
            await asyncio.sleep(PING_SECONDS)
            try:
                await self._request(frames.PING, {})
            except ConnectionDropped:
                return
