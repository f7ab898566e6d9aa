"""`writ mcp`: operations as tools of an AI agent's client, over the Model Context Protocol."""

import os
import sys
from importlib.util import find_spec

import click

from writ_cli.options import asking
from writ_cli.settings import Settings
from writ_contracts.errors import Unreachable

GATEWAY = "writ_gateway"


@click.group()
def mcp() -> None:
    """Tools for AI agents (Model Context Protocol)."""


@mcp.command()
@click.option(
    "--profile",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="Few tools for any operation, or one for each operation.",
)
@click.option("--read-only", is_flag=True, help="Request nothing that changes a target.")
@click.option("--public-only", is_flag=True, help="Show no output that may be secret, such as contents of files.")
@asking
async def stdio(settings: Settings, profile: str, read_only: bool, public_only: bool) -> None:
    """Serve one MCP client on standard input and output.

    A client starts this command. What its model requests is decided as if that principal had run `writ`: use a
    principal of kind agent, never your own. No tool approves, publishes a policy, or lifts a stop.
    """
    if find_spec(GATEWAY) is None:
        raise Unreachable("the MCP gateway is not installed: install writops with the extra mcp")
    context = settings.where()
    environ = {
        **os.environ,
        "WRIT_PRINCIPAL": context.principal,
        "NATS_URL": context.url,
        "WRIT_KEY_FILE": context.key_file,
        "WRIT_MCP_PROFILE": profile,
        "WRIT_MCP_READ_ONLY": str(read_only).lower(),
        "WRIT_MCP_PUBLIC_ONLY": str(public_only).lower(),
        "WRIT_TLS_CA": context.tls_ca or "",
        "WRIT_TLS_CERT": context.tls_cert or "",
        "WRIT_TLS_KEY": context.tls_key or "",
    }
    os.execve(sys.executable, [sys.executable, "-m", GATEWAY], environ)  # noqa: S606 - the service itself, no shell
