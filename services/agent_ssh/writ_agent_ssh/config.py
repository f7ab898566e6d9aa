"""Configuration of the SSH agent: that of every agent, and the places of its keys and known hosts."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from writ_agent.config import AgentConfig
from writ_containers.engine.registries import RegistryFolder
from writ_runtime.config import env

Seconds = Annotated[float, Meta(gt=0)]
HostPort = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,253}:[1-9][0-9]{0,4}(?!\n)$")]


class SshAgentConfig(AgentConfig, frozen=True, kw_only=True):
    """The credentials for targets. Addresses are in their inventory entries (`connection`)."""

    keys: Annotated[
        Path,
        env(
            "WRIT_SSH_KEYS",
            "folder of keys and secrets: `<target>`, `<target>-cert.pub`, `<target>.jump`, `<target>.passphrase`, "
            "`<target>.sudo`; mode 0600",
        ),
    ]
    auth_sock: Annotated[
        Path | None,
        env("WRIT_SSH_AUTH_SOCK", "socket of an ssh-agent, for targets with `<target>.pub` alone in WRIT_SSH_KEYS"),
    ] = None
    known_hosts: Annotated[
        Path | None,
        env(
            "WRIT_SSH_KNOWN_HOSTS", "host keys and host authorities, as ssh has them; without it the inventory's alone"
        ),
    ] = None
    tailscale_socket: Annotated[
        Path, env("WRIT_TAILSCALE_SOCKET", "socket of tailscaled, for targets with `via: tailscale`")
    ] = Path("/var/run/tailscale/tailscaled.sock")
    tailscale_socks5: Annotated[
        HostPort | None,
        env("WRIT_TAILSCALE_SOCKS5", "host:port of tailscaled's SOCKS5 proxy, by which peers are reached if given"),
    ] = None
    tailscale_program: Annotated[
        Path | None,
        env("WRIT_TAILSCALE_PROGRAM", "the program `tailscale`; if given, peers are reached by its `nc`"),
    ] = None
    waiting: Annotated[
        int,
        Meta(ge=0, le=4096),
        env("WRIT_SSH_WAITING", "operations that may wait for slow hosts besides those in slots"),
    ] = 256
    idle: Annotated[Seconds, env("WRIT_SSH_IDLE", "seconds after which an unused connection is closed")] = 600.0
    connects: Annotated[
        int, Meta(ge=1, le=64), env("WRIT_SSH_CONNECTS", "connections that may be in the making to one host at once")
    ] = 4
    registries: RegistryFolder = None
