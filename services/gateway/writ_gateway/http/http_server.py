"""The HTTP side: which hosts and origins are accepted, how large a body may be, and the way in by a token."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from writ_bus import tasks
from writ_bus.nats.tls import is_loopback_host
from writ_bus.port import Bus
from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError
from writ_documents.principal_changes import CHANGES
from writ_gateway.http.asgi import Application
from writ_gateway.http.bearer import BearerAuthentication
from writ_gateway.http.config import HttpGatewayConfig
from writ_gateway.http.host_names import HostNames
from writ_gateway.http.introspection import IntrospectionEndpoint
from writ_gateway.http.issuers import Issuer
from writ_gateway.http.json_fetch import is_safe
from writ_gateway.http.metrics import refusal_count
from writ_gateway.http.request_counter import RequestCounter
from writ_gateway.http.served_principals import ServedPrincipals
from writ_gateway.http.sessions import PrincipalSessions
from writ_gateway.http.time_limits import MOST_CONNECTIONS, BodyLimit, TimedProtocol
from writ_gateway.http.tokens import Tokens
from writ_gateway.http.value_limit import ValueLimit
from writ_gateway.refusals import Refusals
from writ_gateway.server import LONGEST_MESSAGE, server
from writ_gateway.session import OpenWaits
from writ_gateway.toolbox import Toolbox
from writ_runtime.health import Attention, Check
from writ_runtime.metrics import Metrics
from writ_runtime.plugins.entry_points import load_catalogue

PATH = "/mcp"
GRACE_SECONDS = 5
FOLLOW_SECONDS = 1.0
MANY_CYCLES = (2_000, 5, 5)
"""Thresholds of the garbage collector: each request leaves cycles of the SDK behind, which added up to 8 KB a call."""


class McpListener:
    """One listener of MCP clients over the bus of a gateway. Raises OSError where it cannot listen, ConfigError."""

    def __init__(self, config: HttpGatewayConfig, bus: Bus, measured: Metrics) -> None:
        catalogue, issuer = load_catalogue(), _issuer(config)
        self._bus = bus
        certificate = certificate_of(config)
        self._served = _served(config)
        self._listening = _listen(config)
        limits = {"read_only": config.read_only, "public_only": config.public_only}
        self._sessions = PrincipalSessions(bus, self._served, catalogue, **limits)
        self._waits = OpenWaits()
        self._refusals = Refusals(refusal_count(measured))
        tools = Toolbox(catalogue, config.profile, read_only=config.read_only)
        mcp = server(tools, self._sessions.of, self._waits, self._refusals)
        application = mcp.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            max_request_body_size=LONGEST_MESSAGE,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `host_names` has it
        )
        self._tokens = Tokens(config.tokens)
        bearer = BearerAuthentication(
            HostNames(ValueLimit(application), config.public_host),
            self._tokens,
            self._served,
            issuer,
            refusals=self._refusals,
        )
        self._uvicorn = _uvicorn(RequestCounter(BodyLimit(bearer), measured), certificate)
        self._serving: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self.url = f"{'https' if certificate else 'http'}://{config.host}:{self._listening.getsockname()[1]}{PATH}"

    def serve(self) -> asyncio.Task[None]:
        """Serve in a task of its own until `stop`."""
        self._serving = tasks.start(self._uvicorn.serve([self._listening]), "mcp")
        return self._serving

    def follow(self) -> asyncio.Task[None]:
        """Follow the principals' access in a task of its own until `stop`."""
        self._following = tasks.start(self._follow_principals(), "follow principals")
        return self._following

    async def _follow_principals(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self._served.refresh()
            await self._sessions.close_ended()

    async def stop(self) -> None:
        """Take no new connections; let open requests end within their grace. Calls that wait return what is known."""
        self._waits.cut_short()
        self._uvicorn.should_exit = True
        if self._serving is not None:
            await self._serving
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        self._refusals.close()
        await self._sessions.close()

    def checks(self) -> Mapping[str, Check]:
        return {"nats": self._nats_check, "tokens": self._tokens_check}

    async def _nats_check(self) -> str | None:
        return None if self._bus.connected else "not connected to NATS"

    async def _tokens_check(self) -> str | None:
        if self._tokens.problem is None and self._served.problem is not None:
            return Attention(f"the last good list of principals counts: {self._served.problem}")
        return self._tokens.problem


def certificate_of(config: HttpGatewayConfig) -> Mapping[str, str]:
    """Return uvicorn's settings of TLS; none of them without a certificate. Raises ConfigError where tokens would cross
    a network in the clear, or for unusable files.
    """
    certificate, key = config.tls_certificate, config.tls_private_key
    if certificate is None or key is None:
        if certificate != key:
            raise ConfigError("WRIT_MCP_TLS_CERT and WRIT_MCP_TLS_KEY belong together: one of them is not set")
        if not is_loopback_host(config.host) and config.http_plaintext != "allow":
            raise ConfigError(
                f"WRIT_MCP_HOST {config.host} is not loopback, and tokens would cross the network without TLS: set "
                "WRIT_MCP_TLS_CERT and WRIT_MCP_TLS_KEY, or WRIT_MCP_PLAINTEXT=allow where a proxy with TLS is in front"
            )
        return {}
    read_private(key)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"WRIT_MCP_TLS_CERT {certificate}, WRIT_MCP_TLS_KEY {key}: {error}") from error
    return {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}


def _served(config: HttpGatewayConfig) -> ServedPrincipals:
    """Raises ConfigError for unusable files."""
    principals = config.principal_list or config.tokens.with_name("principals.yaml")
    agents = config.agents or config.tokens.with_name("agents.yaml")
    if config.agents is None and not agents.exists():
        raise ConfigError(f"WRIT_AGENTS is not set, and there is no {agents}: who is disabled would not be known")
    return ServedPrincipals(config.gateway, principals, agents.with_name(CHANGES))


def _listen(config: HttpGatewayConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    return socket.create_server((config.host, config.port), family=family)


def _issuer(config: HttpGatewayConfig) -> Issuer | None:
    """Raises ConfigError where the settings of access tokens are not complete."""
    if not config.issuer:
        return None
    principals = frozenset(name.strip() for name in config.principals.split(",") if name.strip())
    expected = {
        "WRIT_MCP_AUDIENCE": config.audience,
        "WRIT_MCP_JWKS or WRIT_MCP_INTROSPECTION": config.jwks or config.introspection,
        "WRIT_MCP_PRINCIPALS": principals,
    }
    if missing := [name for name, value in expected.items() if not value]:
        raise ConfigError(*(f"{name} is not set, and WRIT_MCP_ISSUER is" for name in missing))
    if "://" in config.jwks and not is_safe(config.jwks):
        raise ConfigError(f"WRIT_MCP_JWKS {config.jwks}: https, or http on loopback")
    return Issuer(
        issuer=config.issuer,
        audience=config.audience,
        jwks=config.jwks,
        introspector=_introspector(config),
        claim=config.claim,
        principals=principals,
    )


def _introspector(config: HttpGatewayConfig) -> IntrospectionEndpoint | None:
    """Raises ConfigError where its settings are not complete."""
    if not config.introspection:
        return None
    if not is_safe(config.introspection):
        raise ConfigError(f"WRIT_MCP_INTROSPECTION {config.introspection}: https, or http on loopback")
    if not config.introspection_client or config.introspection_secret is None:
        raise ConfigError("WRIT_MCP_INTROSPECTION needs WRIT_MCP_INTROSPECTION_CLIENT and …_SECRET_FILE")
    secret = read_private(config.introspection_secret).decode().strip()
    return IntrospectionEndpoint(address=config.introspection, client=config.introspection_client, secret=secret)


class _UvicornServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: the service's own stop it in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals as they are."""
        yield


def _uvicorn(application: Application, tls: Mapping[str, str]) -> uvicorn.Server:
    return _UvicornServer(
        uvicorn.Config(
            application,
            ssl_certfile=tls.get("ssl_certfile"),
            ssl_keyfile=tls.get("ssl_keyfile"),
            log_config=None,
            access_log=False,
            server_header=False,
            http=TimedProtocol,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=30,
            ws="none",
        )
    )
