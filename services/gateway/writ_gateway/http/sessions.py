"""Sessions by principal, all over the one connection of the gateway.

The gateway's key sends requests and signs none: a token is good only for operations without a demanded signature.
"""

from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_contracts.operations import Catalogue
from writ_gateway.client import AgentClient
from writ_gateway.context import Context as RequestContext
from writ_gateway.context import caller_of
from writ_gateway.http.bearer import IDENTITY, CallerIdentity
from writ_gateway.http.served_principals import ServedPrincipals, bus_for
from writ_gateway.session import PrincipalSession


class PrincipalSessions:
    """The sessions of all principals with a request so far."""

    def __init__(
        self, bus: Bus, served: ServedPrincipals, catalogue: Catalogue, *, read_only: bool, public_only: bool
    ) -> None:
        self._bus = bus
        self._served = served
        self._catalogue = catalogue
        self._read_only = read_only
        self._public_only = public_only
        self._by_principal: dict[str, PrincipalSession] = {}

    async def close(self) -> None:
        """Unsubscribe from all events."""
        for session in self._by_principal.values():
            await session.writ.unfollow()

    async def close_ended(self) -> None:
        """Unsubscribe from the events of principals without access: after a reconnect NATS would refuse them."""
        for principal in [*self._by_principal]:
            try:
                self._served.check(principal)
            except WritError:
                await self._by_principal.pop(principal).writ.unfollow()

    async def of(self, context: RequestContext) -> PrincipalSession:
        """Return the session of the principal whose token the HTTP request has, for this one request."""
        assert context.request is not None  # noqa: S101 - over HTTP each message came in a request
        identity: CallerIdentity = context.request.scope[IDENTITY]
        agent = context.request.headers.get("user-agent", "")
        return self._of(identity.principal).called_by(caller_of(context, identity.session, identity.token, agent))

    def _of(self, principal: str) -> PrincipalSession:
        if principal not in self._by_principal:
            writ = AgentClient(
                bus_for(principal, self._bus, self._served),
                None,
                principal,
                catalogue=self._catalogue,
                read_only=self._read_only,
                public_only=self._public_only,
            )
            self._by_principal[principal] = PrincipalSession(writ, self._catalogue)
        return self._by_principal[principal]
