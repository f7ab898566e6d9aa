"""A leaf node over TLS: both ends as `writ leaf add` configures them, and refusals on the way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.leaf_site import ENVIRON, POOL, node_without_rules, reaches, site_of, wait_for_log

from writ_contracts import subjects
from writ_installation.server_access.cluster_certificate import for_servers
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_testing.peers.nats_server import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
NAME = f"agent-{POOL}"


class Certificates:
    """Our certificates and foreign ones for the same name, as files."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.other = folder / "hub.pem", folder / "hub.key", folder / "other.pem"
        made = for_servers(["localhost"])
        self.certificate.write_bytes(made.public)
        self.key.write_bytes(made.private)
        self.other.write_bytes(for_servers(["localhost"]).public)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def hub() -> str:
    return f"tls://localhost:{free_port()}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation whose one target is at the depot."""
    folder = tmp_path_factory.mktemp("hub")
    home = prepare(folder, targets=[local_target("depot-1", folder / "files", connection={"host": "depot"})])
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    installation: RunningInstallation, certificates: Certificates, hub: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """Link the site while the installation runs, which then uses TLS."""
    shown = ("--certificate", str(certificates.certificate), "--key", str(certificates.key))
    known = ("--ca", str(certificates.certificate))
    async with site_of(installation, tmp_path_factory.mktemp("depot"), hub, *shown, *known) as folder:
        yield folder


def seed(installation: RunningInstallation) -> bytes:
    return installation.home.key(f"leaf-depot-{POOL}").seed


async def test_an_operation_is_carried_out_over_a_link_with_tls(
    installation: RunningInstallation, site: Path, files: Path
) -> None:
    async with await installation.client() as writ:
        done = await writ.run("test_count", "depot-1", {"path": str(files / "tls")}, timeout=60)
    assert done.outcome == "succeeded"
    assert (files / "tls").read_text().split() == [done.operation_id]


async def test_site_that_trusts_another_certificate_does_not_link(
    installation: RunningInstallation, site: Path, certificates: Certificates, hub: str, tmp_path: Path
) -> None:
    right, wrong = ({"ca_file": str(path)} for path in (certificates.certificate, certificates.other))
    async with node_without_rules(hub, seed(installation), tmp_path, NAME, tls=wrong) as bus:
        await wait_for_log(tmp_path, "certificate signed by unknown authority")
        assert not await reaches(bus, subjects.claim(POOL))
    async with node_without_rules(hub, seed(installation), tmp_path, NAME, tls=right) as bus:
        await eventually(lambda: reaches(bus, subjects.claim(POOL)), what="an answer over the link")


async def test_a_site_that_speaks_no_tls_does_not_link(
    installation: RunningInstallation, site: Path, hub: str, tmp_path: Path
) -> None:
    async with node_without_rules(hub.replace("tls://", "nats://"), seed(installation), tmp_path, NAME) as bus:
        await wait_for_log(tmp_path, "x509")
        assert not await reaches(bus, subjects.claim(POOL))
