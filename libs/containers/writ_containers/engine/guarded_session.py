"""HTTP with an engine that may be hostile: no redirects, and replies of bounded size. Imports aiohttp, which is large.

The agent of one engine serves others, whose engines accept the same certificate: a redirect would carry a request, and
its effect, to another target than the granted one. Docker's own client follows none for changes either.
"""

import asyncio
from collections.abc import Awaitable, Callable

from writ_containers.engine.engine_errors import UnusableEngineReply
from writ_containers.engine.http_client import aiohttp
from writ_contracts.json_values import MOST_REPLIED, may_exceed

MOST_BYTES = 8 << 20
"""The largest reply that is read as a whole. An inspection of a container has about 10 KB, a list 2 KB a container."""
PIECE = 1 << 16
_REDIRECTS = range(300, 400)
_UNCHANGED = 304
"""The reply to a start or stop of a container that is started or stopped already."""


class BoundedReply(aiohttp.ClientResponse):
    """A reply that is read up to `MOST_BYTES`. Streams (`content`) have no bound of their own."""

    async def read(self) -> bytes:
        """Return the whole body, which is JSON. Raises UnusableEngineReply for a longer one, or one of more values."""
        if self._body is None:
            try:
                self._body = await self._whole()
            except BaseException:  # as aiohttp's own: without it the connection stays open until it is collected
                self.close()
                raise
        return await super().read()

    async def _whole(self) -> bytes:
        body = bytearray()
        async for piece in self.content.iter_chunked(PIECE):
            body += piece
            if len(body) > MOST_BYTES:
                raise UnusableEngineReply(f"it has more than {MOST_BYTES >> 20} MB")
            await asyncio.sleep(0)  # an engine that always has more holds up nobody else
        if may_exceed(body, MOST_REPLIED):
            raise UnusableEngineReply(f"it may have more than {MOST_REPLIED:,} values")
        return bytes(body)


async def refuse_redirect(
    request: "aiohttp.ClientRequest", send: Callable[["aiohttp.ClientRequest"], Awaitable["aiohttp.ClientResponse"]]
) -> "aiohttp.ClientResponse":
    """Return the reply. Raises UnusableEngineReply for a redirect, before it is followed."""
    response = await send(request)
    if response.status in _REDIRECTS and response.status != _UNCHANGED:
        response.close()
        raise UnusableEngineReply("it is a redirect")
    return response


def guarded_session(connector: "aiohttp.BaseConnector", timeout: "aiohttp.ClientTimeout") -> "aiohttp.ClientSession":
    """Return a session for one engine. Compressed replies are not requested, and not unpacked: a few bytes of one can
    fill the memory.
    """
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        middlewares=(refuse_redirect,),
        response_class=BoundedReply,
    )
