"""One connection for each principal that has sent a request, with that principal's own key.

The key connects and signs nothing: who has a token may request what a signature is not demanded for.
"""

import asyncio
from contextlib import AsyncExitStack

from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus
from writ_contracts.errors import ConfigError, Denied
from writ_contracts.operations import Catalogue
from writ_gateway.client import AgentClient
from writ_gateway.http.bearer import PRINCIPAL
from writ_gateway.http.config import Config
from writ_gateway.server import Context as RequestContext
from writ_gateway.session import Session

CONNECT_SECONDS = 5.0


class Sessions:
    """Sessions by principal. A block closes all of them at its end."""

    def __init__(self, config: Config, catalogue: Catalogue) -> None:
        self._config = config
        self._catalogue = catalogue
        self._open: dict[str, Session] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Sessions":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def of(self, request: RequestContext) -> Session:
        """The session of the principal whose token the HTTP request has. Raises the errors of a connection."""
        assert request.request is not None  # noqa: S101 - over HTTP each message came in a request
        principal = str(request.request.scope[PRINCIPAL])
        async with self._opening:
            if principal not in self._open:
                self._open[principal] = await self._connect(principal)
            return self._open[principal]

    async def _connect(self, principal: str) -> Session:
        config = self._config
        try:
            seed = read_private(config.keys / f"principal-{principal}.seed")
        except ConfigError as error:
            raise Denied(f"the gateway has no key of {principal}", code="unknown_principal") from error
        context = Context(
            principal=principal,
            url=config.nats_url,
            tls_ca=config.tls_ca,
            tls_cert=config.tls_cert,
            tls_key=config.tls_key,
        )
        writ = AgentClient(
            await open_bus(context, seed, wait=CONNECT_SECONDS),
            None,
            principal,
            catalogue=self._catalogue,
            read_only=config.read_only,
            public_only=config.public_only,
        )
        return Session(await self._stack.enter_async_context(writ), self._catalogue)
