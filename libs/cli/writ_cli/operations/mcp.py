"""`writ mcp`: operations as tools of an AI agent's client, over the Model Context Protocol."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import click

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, local
from writ_cli.context.settings import Settings
from writ_contracts.errors import Invalid, Unreachable
from writ_documents.readers import read_principals
from writ_installation.files.principal_changes import principals_of
from writ_installation.server_access.server_tls import client_tls
from writ_installation.status.server_url import running_url
from writ_runtime import subprocess_env

GATEWAY = "writ_gateway"

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=CommandGroup)
def mcp() -> None:
    """Tools for AI agents (Model Context Protocol)."""


@mcp.command()
@click.option(
    "--profile",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="small: few tools for all operations; full: one tool for each operation.",
)
@click.option("--read-only", is_flag=True, help="Refuse operations that change a target.")
@click.option("--public-only", is_flag=True, help="Leave out output that may be secret, such as contents of files.")
@asking
async def stdio(settings: Settings, profile: str, read_only: bool, public_only: bool) -> None:
    """Serve one MCP client on standard input and output.

    A client starts this command. What its model requests is decided as if that principal had run `writ`: use a
    principal of kind agent, never your own. No tool approves, publishes a policy, or lifts a stop.
    """
    context = settings.where()
    _become(
        GATEWAY,
        WRIT_PRINCIPAL=context.principal,
        NATS_URL=context.url,
        WRIT_KEY_FILE=context.key_file,
        WRIT_INSTALLATION=context.installation,
        WRIT_MCP_PROFILE=profile,
        WRIT_MCP_READ_ONLY=str(read_only).lower(),
        WRIT_MCP_PUBLIC_ONLY=str(public_only).lower(),
        WRIT_TLS_CA=context.tls_ca or "",
        WRIT_TLS_CERT=context.tls_cert or "",
        WRIT_TLS_KEY=context.tls_key or "",
    )


@mcp.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address on which it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True)
@click.option(
    "--gateway",
    metavar="NAME",
    default="gateway",
    show_default=True,
    help="The gateway's id in principals.yaml.",
    shell_complete=completed_names.gateways,
)
@click.option("--public-host", metavar="NAME", default="", help="The name that clients use, behind a proxy with TLS.")
@click.option(
    "--certificate", type=_FILE, metavar="FILE", help="Its certificate with the chain, PEM: it then serves HTTPS."
)
@click.option("--key", "private_key", type=_FILE, metavar="FILE", help="The key of that certificate, PEM, mode 0600.")
@click.option("--profile", type=click.Choice(["small", "full"]), default="small", show_default=True)
@click.option("--read-only", is_flag=True, help="Refuse operations that change a target.")
@click.option("--public-only", is_flag=True, help="Leave out output that may be secret, such as contents of files.")
@local
async def http(
    settings: Settings,
    host: str,
    port: int,
    gateway: str,
    public_host: str,
    certificate: Path | None,
    private_key: Path | None,
    profile: str,
    read_only: bool,
    public_only: bool,
) -> None:
    """Serve MCP clients over streamable HTTP, each as the principal of its token.

    `writ principal add NAME --kind agent --via gateway` lets the gateway request for NAME, and `writ token create NAME`
    makes a token. Beyond loopback it needs a certificate, or a proxy with TLS and WRIT_MCP_PLAINTEXT=allow.
    """
    key_file = settings.home.seed_file(f"principal-{gateway}")
    if not key_file.exists():
        command = f"`writ principal add NAME --kind agent --via {gateway}`"
        raise Invalid(
            f"no principal comes through a gateway {gateway!r} yet: {command} adds one, and the gateway's key"
        )
    url = settings.environ.get("NATS_URL") or running_url(settings.home)
    if url is None:
        raise Unreachable(f"Writ is not up on {settings.home.root}: start it with `writ up`, or set NATS_URL")
    _become(
        f"{GATEWAY}.http",
        NATS_URL=url,
        WRIT_MCP_GATEWAY=gateway,
        WRIT_KEY_FILE=str(key_file),
        WRIT_MCP_TOKENS=str(settings.home.gateway_tokens),
        WRIT_PRINCIPALS=str(settings.home.principals),
        WRIT_AGENTS=str(settings.home.agents),
        WRIT_MCP_HOST=host,
        WRIT_MCP_PORT=str(port),
        WRIT_MCP_PUBLIC_HOST=public_host,
        WRIT_MCP_PROFILE=profile,
        WRIT_MCP_READ_ONLY=str(read_only).lower(),
        WRIT_MCP_PUBLIC_ONLY=str(public_only).lower(),
        **_nats_ca(settings),
        **_tls(certificate, private_key),
    )


def _nats_ca(settings: Settings) -> dict[str, str]:
    """Return the file of the installation's own CA, as other services get it, unless the environment names another."""
    tls = client_tls(settings.home, settings.environ)
    return {"WRIT_TLS_CA": tls.ca} if tls is not None and tls.ca else {}


def _tls(certificate: Path | None, private_key: Path | None) -> dict[str, str]:
    parameters = {"WRIT_MCP_TLS_CERT": certificate, "WRIT_MCP_TLS_KEY": private_key}
    return {name: str(path) for name, path in parameters.items() if path is not None}


def _become(module: str, **environ: str) -> NoReturn:
    """Replace this process with the gateway. Raises Unreachable where it is not installed.

    Its working directory is a project of an agent: no module is loaded from there.
    """
    if find_spec(GATEWAY) is None:
        raise Unreachable("the MCP gateway is not installed: install writops with the extra mcp")
    argv = subprocess_env.command(module)
    os.execve(argv[0], argv, {**os.environ, **environ})  # noqa: S606 - the service itself, no shell


def _json(section: str, **more: str) -> Callable[[dict[str, Any]], str]:
    return lambda server: json.dumps({section: {"writ": {**more, **server}}}, indent=2)


def _toml(server: dict[str, Any]) -> str:
    """JSON strings and arrays are TOML as well."""
    environ = ", ".join(f"{name} = {json.dumps(value)}" for name, value in server["env"].items())
    command, arguments = json.dumps(server["command"]), json.dumps(server["args"])
    return f"[mcp_servers.writ]\ncommand = {command}\nargs = {arguments}\nenv = {{ {environ} }}"


CLIENTS: Mapping[str, tuple[str, Callable[[dict[str, Any]], str]]] = MappingProxyType(
    {
        "claude": (".mcp.json of a project, or claude_desktop_config.json", _json("mcpServers")),
        "codex": ("~/.codex/config.toml", _toml),
        "cursor": (".cursor/mcp.json", _json("mcpServers")),
        "gemini": ("~/.gemini/settings.json", _json("mcpServers")),
        "vscode": (".vscode/mcp.json", _json("servers", type="stdio")),
        "windsurf": ("~/.codeium/windsurf/mcp_config.json", _json("mcpServers")),
    }
)
"""The file that each client reads, and its form."""


@mcp.command()
@click.argument("name", type=click.Choice(list(CLIENTS)), required=False, metavar="[CLIENT]")
@click.option("--client", type=click.Choice(list(CLIENTS)), help="The program that runs the agent.")
@click.option("--profile", type=click.Choice(["small", "full"]), default="small", show_default=True)
@click.option("--read-only", is_flag=True, help="Refuse operations that change a target.")
@asking
async def config(settings: Settings, name: str | None, client: str | None, profile: str, read_only: bool) -> None:
    """Print what CLIENT, the program that runs the agent, needs to start `writ mcp stdio`.

    Nothing is written. Standard error names the file that it belongs in.
    """
    chosen = client or name
    if chosen is None or name not in (None, chosen):
        raise click.UsageError(f"name one client: {', '.join(CLIENTS)}")
    if settings.context:
        settings.where()  # raises Invalid as `writ mcp stdio` would, whose error few people read
    where = ["--context", str(settings.context.absolute())] if settings.context else ["--as", _known(settings)]
    options = ["--profile", profile, *(["--read-only"] if read_only else [])]
    server = {
        "command": str(Path(sys.executable).with_name("writ")),
        "args": ["mcp", "stdio", *where, *options],
        "env": {"WRIT_HOME": str(settings.home.root.absolute())},
    }
    file, form = CLIENTS[chosen]
    click.echo(form(server))
    click.echo(f"writ: this belongs in {file}", err=True)
    if not settings.context and _is_human(settings):
        warning = "is a human, so the agent could do everything that this person may: give it a principal of its own"
        click.echo(f"writ: {settings.who()} {warning} (`writ principal add NAME --kind agent`, then --as)", err=True)


def _known(settings: Settings) -> str:
    """Return the principal to act as. Raises Invalid for one that the installation here does not know: the client would
    show the error of `writ mcp stdio` in a log that few people read.
    """
    name = settings.who()
    if settings.home.principals.exists() and name not in principals_of(settings.home):
        text = f"there is no principal {name[:64]!r} in {settings.home.principals}"
        raise Invalid(text, code="unknown_principal")
    return name


def _is_human(settings: Settings) -> bool:
    if not settings.home.principals.exists():
        return False
    known = read_principals(settings.home.principals).principals
    return any(one.id == settings.who() and one.kind == "human" for one in known)
