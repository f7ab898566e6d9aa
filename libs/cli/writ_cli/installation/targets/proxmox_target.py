"""`writ target add --proxmox`: a Proxmox VE becomes a target, its certificate compared by a person."""

import sys
from pathlib import Path

import click

from writ_cli.context.settings import Settings
from writ_cli.terminal.confirmation import is_the_same
from writ_cli.terminal.output import Screen
from writ_contracts.errors import Invalid, Untrusted
from writ_installation.administration.proxmox_targets import (
    AddedProxmox,
    ProxmoxTarget,
    add_proxmox_target,
    api_address,
    shown_fingerprint,
)
from writ_installation.administration.targets import refuse_known, when_used
from writ_installation.files.home import Home


async def add_proxmox(
    settings: Settings,
    name: str,
    where: str,
    role: str,
    fingerprint: str,
    token_file: Path | None,
    pool: str | None,
    tags: tuple[str, ...],
) -> AddedProxmox:
    """Add it, and say what to do next. Raises Invalid, Untrusted, Unreachable."""
    host, port = api_address(where)
    refuse_known(settings.home, name)
    token, shown = _read(token_file), _pinned(host, port, fingerprint)
    target = ProxmoxTarget(
        name=name, role=role, host=host, port=port, fingerprint=shown, token=token, pool=pool, tags=tags
    )
    added = await add_proxmox_target(settings.home, target)
    if settings.screen.json:
        settings.screen.data(added)
    else:
        _show(settings.screen, added, settings.home)
    return added


def _read(token_file: Path | None) -> bytes:
    if token_file is None:
        raise Invalid("give the file with its API token (one line, user@realm!name=secret) with --key")
    return token_file.read_bytes()


def _pinned(host: str, port: int, fingerprint: str) -> str:
    """Return the fingerprint to pin: the one that is shown, if it is the given one or somebody confirms it."""
    shown = shown_fingerprint(host, port)
    if fingerprint and fingerprint.upper() != shown:
        message = f"{host} shows {shown}, not the certificate that you gave; nothing was added"
        raise Untrusted(message, code="certificate_changed")
    if not fingerprint and not _confirmed(host, shown):
        raise Untrusted("the certificate was not confirmed; nothing was added", code="certificate_changed")
    return shown


def _confirmed(host: str, shown: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(f"{host} shows a certificate with SHA-256 {shown}: compare it, and give it with --host-key")
    click.echo(f"{host} shows a certificate with this SHA-256:\n  {shown}", err=True)
    click.echo("Compare it with the node's own, on its console:", err=True)
    click.echo("  openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem", err=True)
    return is_the_same()


def _show(screen: Screen, added: AddedProxmox, home: Home) -> None:
    name = added.target.id
    screen.line(f"{name} is a target now, of role {added.target.role}; its certificate is pinned in inventory.yaml")
    screen.line(f"It is used with the API token {added.token_id}, which is now also in {added.token_file}")
    screen.line(f"Next, test it and see which rights the token lacks: writ target test {name}")
    if added.served is None:
        screen.line(when_used(home))
