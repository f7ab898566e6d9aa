"""The HTTP side: which hosts and origins are accepted, how large a body may be, and the way in by a token."""

import socket
import sys

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from writ_contracts.errors import ConfigError
from writ_gateway.http.access_tokens import Issuer
from writ_gateway.http.bearer import Application, Bearer
from writ_gateway.http.config import Config
from writ_gateway.http.sessions import Sessions, connect
from writ_gateway.http.tokens import Tokens
from writ_gateway.server import LONGEST_ARGUMENTS, server
from writ_gateway.toolbox import Toolbox
from writ_runtime.plugins import load_catalogue

PATH = "/mcp"
LARGEST_BODY = LONGEST_ARGUMENTS + 65_536
MOST_CONNECTIONS = 1000
GRACE_SECONDS = 5
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


async def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM. Raises OSError where it cannot listen."""
    catalogue, issuer = load_catalogue(), _issuer(config)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.create_server((config.host, config.port), family=family) as listening:
        bus = await connect(config)
        async with Sessions(bus, catalogue, read_only=config.read_only, public_only=config.public_only) as sessions:
            mcp = server(Toolbox(catalogue, config.profile, read_only=config.read_only), sessions.of)
            application = mcp.streamable_http_app(
                streamable_http_path=PATH,
                stateless_http=True,
                max_request_body_size=LARGEST_BODY,
                transport_security=_security(config.public_host),
            )
            sys.stderr.write(f"writ mcp: http://{config.host}:{listening.getsockname()[1]}{PATH}\n")
            bearer = Bearer(application, Tokens(config.tokens), issuer)
            await _uvicorn(bearer).serve([listening])


def _issuer(config: Config) -> Issuer | None:
    """Raises ConfigError where the settings of access tokens are not complete."""
    if not config.issuer:
        return None
    principals = frozenset(name.strip() for name in config.principals.split(",") if name.strip())
    wanted = {"WRIT_MCP_AUDIENCE": config.audience, "WRIT_MCP_JWKS": config.jwks, "WRIT_MCP_PRINCIPALS": principals}
    if missing := [name for name, value in wanted.items() if not value]:
        raise ConfigError(*(f"{name} is not set, and WRIT_MCP_ISSUER is" for name in missing))
    return Issuer(
        issuer=config.issuer,
        audience=config.audience,
        jwks=config.jwks,
        claim=config.claim,
        principals=principals,
    )


def _security(public_host: str) -> TransportSecuritySettings:
    """Names by which it may be asked. A page that a browser shows has an origin, and is refused unless it is ours."""
    hosts = [f"{name}:*" for name in LOOPBACK]
    origins = [f"http://{host}" for host in hosts]
    if public_host:
        hosts += [public_host, f"{public_host}:*"]
        origins += [f"https://{public_host}", f"https://{public_host}:*"]
    return TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins)


def _uvicorn(application: Application) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=30,
            ws="none",
        )
    )
