"""`writ target add`: a host, over SSH with its host key compared by a person or with an agent of its own, a Docker
engine or a Proxmox VE becomes a target.
"""

import sys
from pathlib import Path
from typing import Any, get_args

import click
from msgspec import Struct

from writ_cli.arguments import completion
from writ_cli.arguments.options import local, packed
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.installation.targets.authorized_key import copy_command
from writ_cli.installation.targets.docker_target import add_engine
from writ_cli.installation.targets.proxmox_target import add_proxmox
from writ_cli.terminal.confirmation import is_the_same
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen, visible
from writ_contracts.backends import DOCKER, PROXMOX, SSH
from writ_contracts.errors import Invalid, TimedOut
from writ_contracts.inventory import Role
from writ_contracts.nearest_name import misspelt
from writ_documents.readers import read_inventory
from writ_installation.administration.docker_targets import EngineFolders, NewEngine, engine_socket
from writ_installation.administration.local_targets import NewLocalTarget, add_local_target
from writ_installation.administration.targets import (
    SERVED_WITHIN,
    AddedTarget,
    HostKey,
    NewTarget,
    SshAddress,
    add_ssh_target,
    address_of,
    refuse_known,
    refuse_name,
    refuse_relative,
    refuse_tags,
    verified_host_key,
    when_used,
)
from writ_installation.files.home import Home

MOST_SECRET = 4096
KINDS = ({"--ssh"}, {"--local"}, {"--proxmox"}, {"--docker"}, {"--ssh", "--docker"})
"""The options for kinds of targets that go together."""


class TargetOptions(Struct, frozen=True, kw_only=True):
    """The options of a new target, of whichever kind."""

    ssh: str | None
    local: str | None
    proxmox: str | None
    docker: str | None
    docker_ca: Path | None
    role: str
    host_key: str
    key_file: Path | None
    passphrase_file: Path | None
    become: str | None
    sudo_password_file: Path | None
    file_roots: tuple[str, ...]
    tags: tuple[str, ...]
    mount_roots: tuple[str, ...]
    stack_dir: str | None
    pool: str | None

    def kinds(self) -> set[str]:
        """Return the given options for kinds of targets."""
        given = {"--ssh": self.ssh, "--local": self.local, "--proxmox": self.proxmox, "--docker": self.docker}
        return {option for option, value in given.items() if value is not None}

    def local_host(self, name: str, host: str) -> NewLocalTarget:
        """Return the host with an agent of its own to add. Raises Invalid, also for options of other kinds."""
        others = {
            "--host-key": self.host_key,
            "--key": self.key_file,
            "--passphrase-file": self.passphrase_file,
            "--become": self.become,
            "--sudo-password-file": self.sudo_password_file,
            "--docker-ca": self.docker_ca,
            "--mount-root": self.mount_roots,
            "--stack-dir": self.stack_dir,
        }
        if unfit := [option for option, value in others.items() if value]:
            raise Invalid(f"{', '.join(unfit)} does not apply to a host with an agent of its own")
        refuse_relative(self.file_roots)
        return NewLocalTarget(
            name=name, role=self.role, host=host, pool=self.pool, file_roots=self.file_roots, tags=self.tags
        )

    @property
    def folders(self) -> EngineFolders:
        return EngineFolders(mount_roots=self.mount_roots, stack_dir=self.stack_dir)

    def engine(self, name: str, address: str) -> NewEngine:
        """Return the Docker engine to add."""
        return NewEngine(
            name=name,
            role=self.role,
            address=address,
            ca=self.docker_ca,
            identity=self.key_file,
            pool=self.pool,
            folders=self.folders,
            tags=self.tags,
        )

    def host(self, name: str, address: str) -> NewTarget:
        """Return the host over SSH to add, with a Docker engine on it or without. Raises Invalid."""
        more: dict[str, Any] = {}
        if self.docker is not None:
            more = {"docker": engine_socket(self.docker), **self.folders.entry()}
        ssh_address = address_of(address, Path.home() / ".ssh" / "config")
        refuse_relative(self.file_roots)
        return NewTarget(
            name=name,
            role=self.role,
            address=ssh_address,
            pool=self.pool,
            file_roots=self.file_roots,
            tags=self.tags,
            key_file=self.key_file,
            passphrase=secret_of(self.passphrase_file),
            become=self.become,
            sudo_password=secret_of(self.sudo_password_file),
            more=more,
        )


@click.command("add")
@click.argument("name")
@click.option(
    "--ssh",
    metavar="USER@HOST[:PORT]|ALIAS",
    help="A host that is reached over SSH; an alias of ~/.ssh/config is looked up once.",
)
@click.option("--local", metavar="HOST", help="A host with an agent of its own, which enrols there.")
@click.option("--proxmox", metavar="HOST[:PORT]", help="A node or cluster of Proxmox VE.")
@click.option(
    "--docker",
    metavar="SOCKET|HOST:PORT",
    help="A Docker engine: of this machine, such as /var/run/docker.sock, over TLS, or with --ssh on that host.",
)
@click.option(
    "--docker-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Docker over TLS: the authority, or the certificate, that is trusted; PEM.",
)
@click.option(
    "--role", required=True, type=click.Choice(get_args(Role)), help="Its role, which selects the rules of the policy."
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="A tag, for rules and for `writ run --tag`.",
    shell_complete=completion.tags,
)
@click.option(
    "--host-key",
    metavar="KEY",
    default="",
    help="The host's public key or its fingerprint; Proxmox: its certificate's.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A private key for it, instead of a new one, or the public half of one in an ssh-agent; Proxmox: the file with"
    " its API token; Docker over TLS: our certificate and its key, PEM.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --key: the file with its passphrase, which is kept beside it.",
)
@click.option("--become", type=click.Choice(["sudo"]), help="How its user becomes root, where an operation needs that.")
@click.option(
    "--sudo-password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --become: the file with its user's password, if sudo requires it.",
)
@click.option(
    "--file-root", "file_roots", multiple=True, metavar="FOLDER", help="A folder in which file operations may work."
)
@click.option(
    "--mount-root", "mount_roots", multiple=True, metavar="FOLDER", help="Docker: folders that containers may mount."
)
@click.option("--stack-dir", metavar="FOLDER", help="Docker: the folder of its Compose files.")
@click.option(
    "--pool", metavar="POOL", help="Its pool, if not ssh, proxmox or docker.", shell_complete=completion.pools
)
@local
@packed(TargetOptions, "options")
async def add(settings: Settings, name: str, options: TargetOptions) -> int:
    """Add a host, a Proxmox VE or a Docker engine, under NAME; a running Writ serves it at once.

    Over SSH, compare the shown host key, or give it with --host-key; from then on it is pinned in inventory.yaml. The
    target gets a key of its own: add it to authorized_keys on the host. This is local administration by the owner of
    the folder. The policy decides about operations on the target.
    """
    refuse_name(name)
    refuse_tags(options.tags)
    if options.kinds() not in KINDS:
        raise Invalid(
            "give one of --ssh USER@HOST, --local HOST, --proxmox HOST and --docker SOCKET, or --ssh and --docker"
        )
    _refuse_of_others(options)
    if options.local is not None:
        return _add_local(settings, options.local_host(name, options.local))
    _warn_of_new_pool(settings.home, options.pool)
    if options.docker is not None and options.ssh is None:
        of_others: dict[str, object] = {"--host-key": options.host_key, "--file-root": options.file_roots}
        new = options.engine(name, options.docker)
        return _done(name, served=(await add_engine(settings, new, of_others)).served)
    if options.proxmox is not None:
        added = await add_proxmox(
            settings,
            name,
            options.proxmox,
            options.role,
            options.host_key,
            options.key_file,
            options.pool,
            options.tags,
        )
        return _done(name, served=added.served)
    return await _add_host(settings, options.host(name, options.ssh or ""), options.host_key)


def _warn_of_new_pool(home: Home, pool: str | None) -> None:
    """Say on standard error that a pool is new, if its name is near to that of another one."""
    if pool is None:
        return
    targets = read_inventory(home.inventory).targets if home.inventory.exists() else []
    known = {SSH, DOCKER, PROXMOX, *(one.pool for one in targets)}
    if pool not in known and (hint := misspelt(pool, known)):
        click.echo(visible(f"writ: pool {pool} is new{hint}"), err=True)


def _refuse_of_others(options: TargetOptions) -> None:
    """Raises UsageError for options that have an effect on another kind of target, or with another option, alone."""
    login = ("passphrase_file", "become", "sudo_password_file")
    if options.proxmox is not None:
        unfit = (*login, "docker_ca", "file_roots", "mount_roots", "stack_dir")
        refuse_typed(unfit, "it does not apply to a Proxmox VE: leave it out")
    if options.ssh is not None:
        refuse_typed(("docker_ca",), "it is for an engine over TLS: leave it out")
    elif options.docker is not None:
        refuse_typed(login, "it does not apply to a Docker engine: leave it out")
    if options.ssh is not None and options.docker is None:
        refuse_typed(("mount_roots", "stack_dir"), "it is for a Docker engine: give --docker, or leave it out")
    if options.become is None:
        refuse_typed(("sudo_password_file",), "it goes with --become sudo")


def _add_local(settings: Settings, new: NewLocalTarget) -> int:
    added = add_local_target(settings.home, new)
    screen = settings.screen
    if screen.json:
        screen.data(added)
        return Exit.DONE
    screen.line(f"{new.name} is a target now, of role {new.role}, for agents of pool {added.pool}")
    if added.here:
        screen.line(f"The agent of this machine serves it. Next, test it: writ target test {new.name}")
        return Exit.DONE
    screen.line(f"Install the agent on {new.host}, and enrol it there with a token (docs/install.md):")
    token = f"writ agent token {added.pool}"
    screen.whole(f"  {token}    here")
    screen.whole(f"  {'writ-enrol'.ljust(len(token))}    on {new.host}")
    return Exit.DONE


async def _add_host(settings: Settings, new: NewTarget, host_key: str) -> int:
    refuse_known(settings.home, new.name)
    shown = verified_host_key(host_key, new.address, lambda key: confirmed_host_key(key, new.address))
    added = await add_ssh_target(settings.home, new, shown)
    if settings.screen.json:
        settings.screen.data(added)
    else:
        _show(settings.screen, added, new.address, settings.home)
    return _done(new.name, served=added.served)


def secret_of(file: Path | None) -> bytes:
    """Return the one line of a file; b"" without a file. Raises Invalid."""
    if file is None:
        return b""
    secret = file.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    if not secret or len(secret) > MOST_SECRET or set(secret).intersection(b"\n\0"):
        raise Invalid(f"{file} must hold one line, of at most {MOST_SECRET} bytes")
    return secret


def _done(name: str, *, served: bool | None) -> int:
    if served is False:
        raise TimedOut(f"{name} is in inventory.yaml, but no agent here was ready for it within {SERVED_WITHIN:g} s")
    return Exit.DONE


def confirmed_host_key(key: HostKey, address: SshAddress) -> bool:
    """Return whether a person at a terminal confirms the host key."""
    kind = key.line.partition(" ")[0]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(f"{address.endpoint} shows {kind} {key.fingerprint}: compare it, and give it with --host-key")
    click.echo(f"{address.endpoint} shows this host key:\n  {kind} {key.fingerprint}", err=True)
    click.echo(
        "Compare it with the key that the host itself shows, on its console or over a connection that you trust:",
        err=True,
    )
    click.echo("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", err=True)
    return is_the_same()


def _show(screen: Screen, added: AddedTarget, address: SshAddress, home: Home) -> None:
    name = added.target.id
    screen.line(f"{name} is a target now, of role {added.target.role}; its host key is pinned in inventory.yaml")
    screen.line(f"Add its key to ~/.ssh/authorized_keys of {address.user} on {address.host}:")
    screen.whole(added.public_key)
    if home.in_containers:
        screen.line(f"or, outside of the container, in the folder that has {home.root.name}, run:")
    screen.whole(f"  {copy_command(home, Path(added.key_file), address)}")
    screen.line(f"Next, test it: writ target test {name}")
    if home.split:
        screen.line(f"An agent of pool {added.target.pool} on another host needs a copy of {added.key_file}")
    elif added.served is None:
        screen.line(when_used(home))
