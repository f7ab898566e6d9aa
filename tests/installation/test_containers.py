"""`writ init --containers` makes the files for docker-compose.yml, and `writ keep` keeps a server equal to them."""

import asyncio
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from writ_cli.main import cli
from writ_client.context import Context, open_bus
from writ_contracts.errors import Conflict, Denied, Invalid, WritError
from writ_documents.readers import read_agents, read_inventory
from writ_installation.administration.principals import add_principal
from writ_installation.archives.backup import back_up
from writ_installation.files import list_edits
from writ_installation.files.home import Home
from writ_installation.files.site import Site as Installed
from writ_installation.nats.leaf_sites import NewSite, add_site
from writ_installation.nats.stream_sizes import sizes
from writ_installation.provisioner import folders
from writ_installation.provisioner.folders import configurations, environment, write_environment
from writ_installation.provisioner.provisioner import Provisioner
from writ_installation.server_access.cluster_certificate import for_servers
from writ_installation.server_access.server_tls import pinned_ca
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import free_port


def made(folder: Path, *words: str) -> str:
    arguments = ["init", "--home", str(folder / ".writ"), "--containers", str(folder / ".env"), *words]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_nothing_is_missing_and_all_of_it_is_the_owners_alone(tmp_path: Path) -> None:
    made(tmp_path)
    home = Home(tmp_path / ".writ")
    assert home.config == tmp_path / ".writ" / "config"
    assert [target.id for target in read_inventory(home.inventory).targets] == ["sandbox"]
    assert {agent.pool for agent in read_agents(home.agents).agents} == {"ssh", "proxmox", "docker", "local-sandbox"}
    for path in home.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_init_again_changes_nothing_and_the_number_of_servers_stays(tmp_path: Path) -> None:
    assert made(tmp_path, "--servers", "3").startswith(f"made {tmp_path / '.writ'}: ")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = made(tmp_path, "--servers", "3")
    assert f"{tmp_path / '.writ'} exists: its files stay as they are, and missing parts were made\n" in said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(Conflict, match="has 3 NATS servers"):
        folders.init(tmp_path / ".writ", 1)


def test_an_installation_of_writ_up_is_left_alone(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["init", "--home", str(tmp_path / ".writ")]).exit_code == 0
    with pytest.raises(Conflict, match="runs without containers"):
        folders.init(tmp_path / ".writ", 1)
    assert not (tmp_path / ".writ" / "config").exists()


def test_the_environment_holds_nothing_secret_and_keeps_the_lines_of_others(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nTZ=UTC\nWRIT_UID=1\n")
    home = folders.init(tmp_path / ".writ", 3)
    write_environment(path, environment(home))
    lines = path.read_text().splitlines()
    assert lines[:2] == ["# mine", "TZ=UTC"]
    assert f"WRIT_UID={os.getuid()}" in lines
    assert "WRIT_UID=1" not in lines
    assert "COMPOSE_PROFILES=cluster" in lines
    for key in home.keys.iterdir():
        assert key.is_dir() or key.read_text().strip() not in path.read_text()


@pytest.mark.parametrize(
    "line",
    [
        "COMPOSE_PROFILES=docker, cluster,mcp",
        'COMPOSE_PROFILES="docker,mcp"',
        "COMPOSE_PROFILES = 'docker,mcp' # more",
        "COMPOSE_PROFILES=docker,mcp # more",
        "export COMPOSE_PROFILES=docker,mcp",
        'export  COMPOSE_PROFILES="docker,mcp"',
    ],
)
def test_the_environment_keeps_profiles_that_are_named_besides_that_of_the_cluster(tmp_path: Path, line: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{line}\n")
    write_environment(path, environment(folders.init(tmp_path / ".writ", 3)))
    lines = [line for line in path.read_text().splitlines() if "PROFILES" in line]
    assert lines == ["COMPOSE_PROFILES=cluster,docker,mcp"]


def test_servers_in_containers_require_tls_for_their_own_names(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 3)
    values = environment(home)
    assert values["WRIT_NATS_URL"] == "tls://nats:4222,tls://nats-2:4222,tls://nats-3:4222"
    assert values["WRIT_TLS_CA"].startswith("der:")
    for text in configurations(home).values():
        assert "allow_non_tls: false" in text
        assert '"cert_file": "/etc/nats/tls/server-1.pem"' in text
    assert (home.servers / "tls" / "server-1.pem").exists()


def test_earlier_containers_offer_tls_until_it_is_required(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 1, "off")
    home.tls_file.unlink()
    again = folders.init(tmp_path / ".writ", 1)
    assert environment(again)["WRIT_NATS_URL"] == "tls://nats:4222"
    assert "allow_non_tls: true" in next(iter(configurations(again).values()))
    allowed = folders.init(tmp_path / ".writ", 1, "off")
    values = environment(allowed)
    assert (values["WRIT_NATS_URL"], values["WRIT_NATS_PLAINTEXT"]) == ("nats://nats:4222", "allow")


def test_three_servers_know_each_other_by_a_certificate(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 3)
    texts = [path.read_text() for path in configurations(home)]
    assert len(texts) == 3
    for text in texts:
        cluster = json.loads(text.partition("cluster: ")[2])
        assert cluster["routes"] == ["nats://nats:6222", "nats://nats-2:6222", "nats://nats-3:6222"]
        assert cluster["tls"]["verify"] is True
    assert sizes(home).replicas == 3


def test_the_certificate_is_shown_and_trusted_by_both_sides(tmp_path: Path) -> None:
    made, other = for_servers(["one.test"]), for_servers(["one.test"])
    files = tmp_path / "cert", tmp_path / "key"
    for path, data in zip(files, (made.public, made.private), strict=True):
        path.write_bytes(data)
    assert handshake(files, made.public) == "one.test"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, other.public)


def handshake(files: tuple[Path, Path], believed: bytes) -> str:
    """Return the name that the client reached, after a handshake with both certificates."""
    sides = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
    for side in sides:
        side.load_cert_chain(*files)
        side.load_verify_locations(cadata=believed.decode())
        side.verify_mode = ssl.CERT_REQUIRED
        side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = sides[0].wrap_bio(down, up, server_hostname="one.test")
    server = sides[1].wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert server.getpeercert() == client.getpeercert()
    return str(client.server_hostname)


class Served:
    """A server with the configuration by `writ init`, on this machine's own paths and ports."""

    def __init__(self, folder: Path, home: Home, port: int, monitor_port: int) -> None:
        self.home, self.url = home, f"tls://127.0.0.1:{port}"
        self._folder, self._port, self._monitor_port = folder, port, monitor_port
        self._process: ServerProcess

    async def start(self) -> None:
        config, log = self.home.servers / "nats.conf", self._folder / "log"
        self._process = await ServerProcess.start(config, log, port=self._port, monitor_port=self._monitor_port)

    async def stop(self) -> None:
        await self._process.stop()


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    port, monitor = free_port(), free_port()
    here = {"STORE": str(tmp_path / "data"), "MOUNTED": str(tmp_path / ".writ" / "servers")}
    for name, value in {"CLIENT_PORT": port, "MONITOR_PORT": monitor, **here}.items():
        monkeypatch.setattr(folders, name, value)
    served = Served(tmp_path, folders.init(tmp_path / ".writ", 1), port, monitor)
    await served.start()
    yield served
    await served.stop()


@pytest.fixture
async def kept(served: Served) -> AsyncIterator[tuple[Home, Provisioner, str]]:
    """Yield a server and a provisioner for it."""
    keeper = Provisioner(served.home, served.url, {})
    following = asyncio.create_task(keeper.follow())
    try:
        yield served.home, keeper, served.url
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await keeper.close()


async def says(keeper: Provisioner) -> str | None:
    return await keeper.checks["servers"]()


async def test_added_principal_has_access_and_a_removed_one_has_not(
    kept: tuple[Home, Provisioner, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keeper, url = kept
    await eventually(lambda: _well(keeper), what="streams")
    monkeypatch.setenv("NATS_URL", url)
    monkeypatch.setenv("WRIT_TLS_CA", pinned_ca(home))
    before = home.principals.read_bytes()
    added = await add_principal(home, "bob", "human", ["operator"], None)
    assert added.admitted is True
    home.principals.write_bytes(before)
    await eventually(lambda: _refused(url, home), what="bob is not let in any more")


async def test_invalid_file_changes_nothing_and_is_reported(kept: tuple[Home, Provisioner, str]) -> None:
    home, keeper, url = kept
    await eventually(lambda: _well(keeper), what="streams")
    before, config = home.agents.read_text(), (home.servers / "nats.conf").read_text()
    home.agents.write_text(before + "nonsense: 1\n")
    await eventually(lambda: _is_reported(keeper, "agents.yaml"), what="what is wrong")
    assert (home.servers / "nats.conf").read_text() == config
    home.agents.write_text(before)
    home.make_key("agent-new")
    list_edits.append(home.agents, "agents", {"pool": "new", "key": home.key("agent-new").public}, unique="key")
    await eventually(lambda: _well(keeper), what="all is well again")
    bus = await open_bus(
        Context(principal="agent-new", url=url, tls_ca=str(home.ca_file)), home.key("agent-new").seed, wait=20
    )
    await bus.drain(1.0)


async def test_first_site_counts_after_a_restart_of_nats_and_status_says_so_until_then(
    served: Served, kept: tuple[Home, Provisioner, str]
) -> None:
    home, keeper, _ = kept
    await eventually(lambda: _well(keeper), what="streams")
    hub, pool = free_port(), read_agents(home.agents).agents[0].pool
    add_site(home, NewSite(name="depot", pools=(pool,), hub=(f"nats://127.0.0.1:{hub}",)), "127.0.0.1")
    await eventually(lambda: _is_reported(keeper, "when it is started again"), what="that it has to be started again")
    await served.stop()
    await served.start()
    await eventually(lambda: _well(keeper), what="all is well again")
    _, writer = await asyncio.open_connection("127.0.0.1", hub)
    writer.close()
    await writer.wait_closed()


async def test_a_backup_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 1)
    with pytest.raises(Invalid, match=r"of containers: stop them, and copy the folders as docs/operating"):
        await back_up(home, tmp_path / "one.backup", None, print)
    state = str(tmp_path / "var")
    split = Installed(url="nats://x:4222", listen="0.0.0.0", port=4222, monitor_port=8222, state=state)
    with pytest.raises(
        Invalid, match=r"the system starts the services of .*: stop them, and copy the folders as docs/operating"
    ):
        await back_up(Home(tmp_path / "etc", split), tmp_path / "one.backup", None, print)
    assert not list(tmp_path.glob("one.backup*"))


async def test_home_without_private_keys_has_the_public_ones(kept: tuple[Home, Provisioner, str]) -> None:
    home, keeper, _ = kept
    await eventually(lambda: _well(keeper), what="streams")
    before = configurations(home)
    for name in ("policy", "executor", "audit", "status"):
        home.seed_file(name).unlink()
    assert configurations(home) == before


async def _well(keeper: Provisioner) -> bool:
    return await says(keeper) is None


async def _is_reported(keeper: Provisioner, what: str) -> bool:
    return what in (await says(keeper) or "")


async def _refused(url: str, home: Home) -> bool:

    try:
        bus = await open_bus(
            Context(principal="bob", url=url, tls_ca=str(home.ca_file)), home.key("principal-bob").seed, wait=2
        )
    except Denied:
        return True
    except WritError:
        return False
    await bus.drain(1.0)
    return False
