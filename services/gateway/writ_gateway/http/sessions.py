"""The sessions of the principals that have sent a request, over the one connection of the gateway.

The gateway's key sends and signs nothing: who has a token may request what a signature is not demanded for.
"""

from types import TracebackType

from writ_bus.port import Bus
from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus
from writ_contracts.operations import Catalogue
from writ_gateway.client import AgentClient
from writ_gateway.http.bearer import IDENTITY, Identity
from writ_gateway.http.config import Config
from writ_gateway.server import Context as RequestContext
from writ_gateway.server import caller_of
from writ_gateway.session import Session

CONNECT_SECONDS = 30.0
CLOSE_SECONDS = 1.0


async def connect(config: Config) -> Bus:
    """Connect as the gateway. Raises Unreachable, and Forbidden for a key that NATS does not know."""
    context = Context(
        principal=config.gateway,
        url=config.nats_url,
        tls_ca=config.tls_ca,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
    )
    return await open_bus(context, read_private(config.key_file), wait=CONNECT_SECONDS)


class Sessions:
    """Sessions by principal. A block closes the connection at its end."""

    def __init__(self, bus: Bus, catalogue: Catalogue, *, read_only: bool, public_only: bool) -> None:
        self.bus = bus
        self._catalogue = catalogue
        self._read_only = read_only
        self._public_only = public_only
        self._by_principal: dict[str, Session] = {}

    async def __aenter__(self) -> "Sessions":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.bus.drain(CLOSE_SECONDS)

    async def of(self, context: RequestContext) -> Session:
        """Return the session of the principal whose token the HTTP request has, for this one request."""
        assert context.request is not None  # noqa: S101 - over HTTP each message came in a request
        identity: Identity = context.request.scope[IDENTITY]
        agent = context.request.headers.get("user-agent", "")
        return self._of(identity.principal).called_by(caller_of(context, identity.session, identity.token, agent))

    def _of(self, principal: str) -> Session:
        if principal not in self._by_principal:
            writ = AgentClient(
                self.bus,
                None,
                principal,
                catalogue=self._catalogue,
                read_only=self._read_only,
                public_only=self._public_only,
            )
            self._by_principal[principal] = Session(writ, self._catalogue)
        return self._by_principal[principal]
