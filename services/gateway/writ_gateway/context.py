"""The context of one MCP request: how the session and the caller of it are found."""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.context import ServerRequestContext

from writ_contracts.installation.gateway_tokens import GatewayToken
from writ_gateway.caller import Caller, client_info
from writ_gateway.session import PrincipalSession

Context = ServerRequestContext[Any, Any]
SessionOf = Callable[[Context], Awaitable[PrincipalSession]]


def caller_of(context: Context, session: str, token: GatewayToken | None = None, agent: str = "") -> Caller:
    """Return the caller of a request, as the client names itself; `agent`: its name where it does not (HTTP's
    User-Agent).
    """
    params = context.session.client_params
    name, version = (params.client_info.name, params.client_info.version) if params else (agent, "")
    client = client_info(name, version, session)
    if token is None:
        return Caller(client=client)
    return Caller(client=client, operations=token.operations, targets=token.targets)
