"""The folder of an installation in containers, for docker-compose.yml at the top of the tree.

In containers all paths are fixed, wherever the folder is on the machine: the installation is `/writ/.writ`, NATS's
store is `/data`, its configuration is in `/etc/nats`, and file operations work in `/srv/sandbox`.
"""

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from writ_contracts.errors import Conflict
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.backends import WITH_CREDENTIALS
from writ_installation.files import create, ssh_keys
from writ_installation.files.create import Machine
from writ_installation.files.former_keys import refuse_former_keys
from writ_installation.files.home import Home
from writ_installation.nats.server import plan
from writ_installation.nats.stream_sizes import sizes
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.server_access.server_tls import (
    LOCAL_NAMES,
    Mode,
    is_on,
    make_ca,
    pinned_ca,
    set_up,
    with_scheme,
    write_settings,
)
from writ_nats_server.cluster import Routes, TlsFiles
from writ_nats_server.config import render

SERVERS = ("nats", "nats-2", "nats-3")
"""The servers' names in the network of the containers; a cluster has all of them."""
NAMES = (*SERVERS, *LOCAL_NAMES)
"""Of the certificate; others, by which clients elsewhere reach a server, are added to tls.yaml."""
CLIENT_PORT, MONITOR_PORT = 4222, 8222
STORE = "/data"
SANDBOX = Machine(name="sandbox", folder=Path("/srv/sandbox"))
FOLDERS = ("config", "joined", "servers")
"""The folders of people's, of the provisioner's and of NATS's files, each mounted by itself."""
MOUNTED = "/etc/nats"
"""The folder `servers`, as the servers have it."""
ROUTES = TlsFiles(ca="/etc/nats/routes.crt", certificate="/etc/nats/routes.crt", key="/run/secrets/routes.key")
PROFILES = "COMPOSE_PROFILES"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container, whose network decides who reaches it


def init(root: Path, servers: int, tls: Mode | None = None) -> Home:
    """Make missing files. Raises Conflict where the folder is an installation of `writ up`, ConfigError where the file
    of a key has one that was rotated away.

    Without `tls` a new installation requires TLS; one without the setting also serves clients without TLS.
    """
    if (root / "principals.yaml").exists() or (root / "site.yaml").exists():
        raise Conflict(f"{root} is an installation that runs without containers: name another folder with --home")
    for name in FOLDERS:
        (root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Home(root)
    refuse_former_keys(home)
    home.make_folders()
    before = home.principals.exists()
    create.make_files(home, SANDBOX)
    create.make_gateway(home)
    create.add_missing_pools(home)
    home.sandbox.mkdir(mode=0o700, exist_ok=True)
    ssh_keys.make_folder(home)
    for backend in WITH_CREDENTIALS:
        home.credentials(backend).mkdir(mode=0o700, exist_ok=True)
    home.tokens.mkdir(mode=0o700, exist_ok=True)
    home.enrolled.mkdir(mode=0o700, exist_ok=True)
    known = {agent.pool for agent in read_agents(home.agents).agents}
    for pool in WITH_CREDENTIALS:  # each backend's pool has agents before its first target
        if pool not in known:
            create.add_pool(home, pool)
    grafana = home.keys / "grafana.password"
    if not grafana.exists():
        write_atomically(grafana, secrets.token_urlsafe(18).encode())
    make_ca(home, time.time())
    if tls is not None:
        write_settings(home, tls, NAMES)
    set_up(home, "offered" if before else "required", NAMES, time.time())
    _prepare_servers(home, servers)
    return home


def _prepare_servers(home: Home, servers: int) -> None:
    kept = sizes(home, servers).replicas
    if kept != servers:
        raise Conflict(f"this installation has {kept} NATS servers, which cannot be changed: see {home.sizes}")
    key = home.keys / "routes.key"
    if not key.exists():
        from writ_installation.server_access.cluster_certificate import for_servers  # noqa: PLC0415 - it takes longer than all else

        made = for_servers(SERVERS)
        write_atomically(key, made.private)
        write_atomically(home.servers / "routes.crt", made.public)
    for name in SERVERS:
        (home.nats / name).mkdir(mode=0o700, exist_ok=True)
    write_servers(home)


def names(home: Home) -> tuple[str, ...]:
    """Return the servers of this installation."""
    return SERVERS[: sizes(home).replicas]


def write_servers(home: Home) -> bool:
    """Write each server's configuration for the present files; return whether any of them changed."""
    expected = configurations(home)
    changed = {path: text for path, text in expected.items() if not path.exists() or path.read_text() != text}
    for path, text in changed.items():
        write_atomically(path, text.encode())
    return bool(changed)


def configurations(home: Home) -> dict[Path, str]:
    servers = names(home)
    one = plan(home, ServerAddress(host=EVERYWHERE, port=CLIENT_PORT, monitor_port=MONITOR_PORT))
    tls = (
        replace(one.tls, certificate=_mounted(home, one.tls.certificate), key=_mounted(home, one.tls.key))
        if one.tls
        else None
    )
    routes = Routes(peers=servers, tls=ROUTES) if len(servers) > 1 else None
    return {
        home.servers / f"{name}.conf": render(replace(one, server_name=name, store_dir=STORE, routes=routes, tls=tls))
        for name in servers
    }


def _mounted(home: Home, path: str) -> str:
    return f"{MOUNTED}/{Path(path).relative_to(home.servers)}"


def environment(home: Home) -> dict[str, str]:
    """Return the variables for docker-compose.yml, without secrets."""
    servers = names(home)
    values = {
        "WRIT_UID": str(os.getuid()),
        "WRIT_GID": str(os.getgid()),
        "WRIT_POLICY_KEY": ",".join(home.keys_of("policy")),
        "WRIT_PEOPLE_KEY": home.people_key(),
        "WRIT_INSTALLATION": home.installation,
        "WRIT_NATS_URL": with_scheme(home, ",".join(f"nats://{name}:{CLIENT_PORT}" for name in servers)),
        "WRIT_TLS_CA": pinned_ca(home),
        "WRIT_NATS_PLAINTEXT": "" if is_on(home) else "allow",
    }
    return {**values, PROFILES: "cluster"} if len(servers) > 1 else values


def _with_profiles(values: Mapping[str, str], before: Sequence[str]) -> dict[str, str]:
    """Return the variables with the profiles that the lines of the file name, such as those for more services."""
    if PROFILES not in values:
        return dict(values)
    named = [value for name, value in map(_assignment, before) if name == PROFILES]
    every = ",".join([values[PROFILES], *named]).split(",")
    return {**values, PROFILES: ",".join(dict.fromkeys(name.strip() for name in every if name.strip()))}


def _assignment(line: str) -> tuple[str, str]:
    """Return the name and the value of a line as compose reads it: `export`, quotes and a comment are no part."""
    name, _, value = line.partition("=")
    name, value = name.strip(), value.strip()
    if name.split()[:-1] == ["export"]:
        name = name.split()[-1]
    if value[:1] in {'"', "'"}:
        return name, value[1:].partition(value[0])[0]
    return name, value.partition(" #")[0].strip()


def write_environment(path: Path, values: Mapping[str, str]) -> None:
    """Write these variables to compose's `.env`; its other lines stay, and so do other profiles."""
    path = path.absolute()
    before = path.read_text().splitlines() if path.exists() else []
    kept: Iterable[str] = (line for line in before if _assignment(line)[0] not in values)
    ours = (f"{name}={value}" for name, value in _with_profiles(values, before).items())
    write_atomically(path, "".join(f"{line}\n" for line in (*kept, *ours)).encode())
