"""Sites which only dial out (`leaves.yaml`): the permissions of their leaf nodes, and the folder for each site.

Each link has a key pair of its own, made here; the file has its public half, and the site's folder the private one.
"""

import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.ids import PoolId, PublicKey
from writ_contracts.nearest_name import near
from writ_documents import shapes, yaml_file
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.files import list_edits
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.processes.report import read_report
from writ_installation.processes.services import agent_elsewhere
from writ_installation.server_access.urls import LEAF_SCHEMES, port_of
from writ_nats_server.cluster import TlsFiles
from writ_nats_server.leaf import LEAF_PORT, LeafListener
from writ_nats_server.leaf_config import LeafLink, LeafPlan, render_leaf

HEAD = "# Sites whose leaf nodes connect to this NATS server: `writ leaf add` adds to it.\n"
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,32}(?!\n)$")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Leaf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One link: from a site to the account of one pool."""

    site: Name
    pool: PoolId
    key: PublicKey


class LeafCertificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate of our server for leaf nodes, and its key: PEM files on the server's machine."""

    certificate: str
    key: str


class Leaves(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """leaves.yaml. `listen` and `port`: our server's address for them; with `tls` they must use TLS."""

    listen: str
    port: Port = LEAF_PORT
    tls: LeafCertificate | None = None
    leaves: list[Leaf]

    def links(self) -> dict[str, list[str]]:
        """Return their keys by pool."""
        found: dict[str, list[str]] = {}
        for one in self.leaves:
            found.setdefault(one.pool, []).append(one.key)
        return found


class NewSite(Struct, frozen=True, kw_only=True):
    """A site to add: the pools of its agents, our address for it, and its leaf node's address for agents."""

    name: str
    pools: Sequence[str]
    hub: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 4222
    monitor_port: int = 8222
    hub_ca: str | None = None


def read_leaves(path: Path) -> Leaves | None:
    """Return the leaves; None without the file. Raises ConfigError."""
    return shapes.convert(yaml_file.read(path), Leaves) if path.exists() else None


def listener(home: Home) -> LeafListener | None:
    """Return the address for leaf nodes, if there are any."""
    leaves = read_leaves(home.leaves)
    if leaves is None:
        return None
    tls = TlsFiles(certificate=leaves.tls.certificate, key=leaves.tls.key) if leaves.tls else None
    return LeafListener(host=leaves.listen, port=leaves.port, tls=tls)


def check_listener(new: LeafListener | None, now: LeafListener | None) -> None:
    """Raises ConfigError where no server of this machine can listen there, since a server with such a configuration
    does not start.

    `now`: the address of the running server, whose port is therefore in use.
    """
    if new is None:
        return
    port = 0 if now is not None and now.port == new.port else new.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(new.host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        where = f"{new.host}, port {new.port}"
        raise ConfigError(f"NATS cannot accept leaf nodes at {where}: {error.strerror or error}") from error


def add_site(home: Home, site: NewSite, listen: str, tls: LeafCertificate | None = None) -> None:
    """Add its links, with new keys for missing ones. Raises Invalid, ConfigError."""
    try:
        msgspec.convert(site.name, Name)
    except msgspec.ValidationError:
        raise Invalid(f"{site.name[:80]!r} cannot name a site: letters, digits and _, at most 32") from None
    ports = [port_of(url, LEAF_SCHEMES, LEAF_PORT) for url in site.hub]
    known = {agent.pool for agent in read_agents(home.agents).agents}
    if unknown := [pool for pool in site.pools if pool not in known]:
        hint = near(unknown[0], known) or "; give a target of the inventory this pool first"
        raise Invalid(f"no pool {unknown[0]!r} in {home.agents}{hint}")
    there = read_leaves(home.leaves)
    if tls:
        if there and there.tls != tls:
            raise Invalid(f"{home.leaves} has another certificate, or none: change its `tls` there")
        _usable(tls)
    if there is None:
        if _served_here(home):
            check_listener(LeafListener(host=listen, port=ports[0], tls=None), None)
        shown = {"tls": msgspec.to_builtins(tls)} if tls else {}
        list_edits.write(home.leaves, HEAD, {"listen": listen, "port": ports[0], **shown, "leaves": []})
    linked = {(one.site, one.pool) for one in there.leaves} if there else set()
    for pool in site.pools:
        key = home.make_key(key_name(site.name, pool)).public
        if (site.name, pool) not in linked:
            list_edits.append(home.leaves, "leaves", {"site": site.name, "pool": pool, "key": key}, unique="key")


def _served_here(home: Home) -> bool:
    """Return whether `writ up` runs the server, and on this machine."""
    report = read_report(home.report_file)
    return report is not None and not report.external and holder(home.lock) is not None


def key_name(site: str, pool: str) -> str:
    """Return the name of the link's key; a site's name has no dash, so that no two links share one."""
    return f"leaf-{site}-{pool}"


def _usable(shown: LeafCertificate) -> None:
    """Raises Invalid unless the server can read the pair from any working directory."""
    try:
        for path in (shown.certificate, shown.key):
            if not Path(path).is_absolute():
                raise Invalid(f"{path!r} is not an absolute path")
            Path(path).read_bytes()
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(shown.certificate, shown.key, password="")
    except OSError as error:  # an SSLError is one, too
        raise Invalid(f"{shown.certificate} with the key {shown.key} cannot be used: {error}") from error


def write_site(home: Home, site: NewSite, folder: Path) -> list[Path]:
    """Write the site's files, for its owner alone: the leaf node's configuration, each pool's key and settings."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    agents = read_agents(home.agents).agents
    links = [
        LeafLink(
            pool=pool,
            seed=home.key(key_name(site.name, pool)).seed.decode(),
            agents=[one.key for one in agents if one.pool == pool],
        )
        for pool in site.pools
    ]
    plan = LeafPlan(
        server_name=f"writ-{site.name}",
        hub=site.hub,
        links=links,
        host=site.host,
        port=site.port,
        monitor_port=site.monitor_port,
        hub_ca=site.hub_ca,
    )
    files = {"leaf.conf": render_leaf(plan).encode()}
    for pool in site.pools:
        seed = home.seed_file(f"agent-{pool}")
        if seed.exists():  # of one that enrolled, only its own host has it
            files[seed.name] = seed.read_bytes()
        key_file, state = f"/etc/writ/agent-{pool}.seed", f"/var/lib/writ-agent-{pool}"
        url = f"nats://{site.host}:{site.port}"
        settings = agent_elsewhere(
            pool,
            url,
            key_file=key_file,
            policy_key=",".join(home.keys_of("policy")),
            people_key=home.people_key(),
            installation=home.installation,
            state_dir=state,
        )
        files[f"agent-{pool}.env"] = _lines(settings)
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def _lines(values: Mapping[str, str]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()
