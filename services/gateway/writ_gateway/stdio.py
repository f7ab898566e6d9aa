"""One MCP client on standard input and output."""

import secrets

from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus
from writ_gateway.client import AgentClient
from writ_gateway.config import GatewayConfig
from writ_gateway.context import Context as RequestContext
from writ_gateway.context import caller_of
from writ_gateway.refusals import Refusals
from writ_gateway.server import LONGEST_MESSAGE, server
from writ_gateway.session import OpenWaits, PrincipalSession
from writ_gateway.stdio_messages import messages
from writ_gateway.toolbox import Toolbox
from writ_runtime.plugins.entry_points import load_catalogue
from writ_trust.keys import Key

CONNECT_SECONDS = 10.0


async def serve(config: GatewayConfig) -> None:
    """Serve until the client closes its end. Raises the errors of `writ_contracts.errors` where Writ cannot be used."""
    catalogue, seed = load_catalogue(), read_private(config.key_file)
    context = Context(
        principal=config.principal,
        url=config.nats_url,
        tls_ca=config.tls_ca,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
    )
    bus = await open_bus(context, seed, wait=CONNECT_SECONDS)
    writ = AgentClient(
        bus,
        Key(seed, config.installation),
        config.principal,
        catalogue=catalogue,
        read_only=config.read_only,
        public_only=config.public_only,
    )
    async with writ:
        session, run = PrincipalSession(writ, catalogue), f"stdio-{secrets.token_hex(8)}"

        async def session_of(context: RequestContext) -> PrincipalSession:
            return session.called_by(caller_of(context, run))

        tools, refusals = Toolbox(catalogue, config.profile, read_only=config.read_only), Refusals()
        waits = OpenWaits()
        mcp = server(tools, session_of, waits, refusals)
        try:
            async with messages(LONGEST_MESSAGE, waits.cut_short) as (reading, writing):
                await mcp.run(reading, writing, mcp.create_initialization_options())
        finally:
            refusals.close()
