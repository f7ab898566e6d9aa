"""The Docker backend on a dockerd over TLS: its authority or its own certificate pinned, our certificate demanded."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.lab.docker_host import BOX, CATALOGUE, make_images
from tests.lab.engine import Engine, bare_engine
from tests.lab.engine_certificates import Authority

from writ_agent.backends.port import TaskResult
from writ_agent_docker.backend import DockerBackend
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_testing.peers.nats_server import free_port
from writ_testing.suites.backend import ProgressRecorder, task

pytestmark = pytest.mark.lab


class TlsEngine(NamedTuple):
    """An engine with a TCP port too."""

    engine: Engine
    authority: Authority
    certificate: str
    port: int


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsEngine]:
    authority, port = Authority(tmp_path_factory.mktemp("certificates")), free_port()
    certificate, key = authority.issue("engine")
    files = {"tlscacert": str(authority.file), "tlscert": str(certificate), "tlskey": str(key)}
    settings = {"hosts": [f"tcp://127.0.0.1:{port}"], "tlsverify": True, **files}
    with bare_engine(lambda _: settings) as engine:
        make_images(engine)
        yield TlsEngine(engine, authority, certificate.read_text(), port)


class Served:
    """A target on this engine with these certificates, and its backend."""

    def __init__(self, tls: TlsEngine, folder: Path, ca: str, identity: str) -> None:
        credentials = folder / "credentials"
        credentials.mkdir()
        (credentials / "box").touch(mode=0o600)
        (credentials / "box").write_text(identity)
        connection = {"host": "127.0.0.1", "port": tls.port, "ca": ca}
        self.target = Target(id="box", role="testing", backend="docker", connection=connection)
        self.backend = DockerBackend(credentials)

    async def run(self, name: str, **given: Any) -> TaskResult:
        return await self.backend.run(task(CATALOGUE[name], self.target, "a" * 26, **given), ProgressRecorder())


@pytest.fixture(params=["authority", "certificate"])
async def served(request: pytest.FixtureRequest, tls: TlsEngine, tmp_path: Path) -> AsyncIterator[Served]:
    ca = tls.authority.pem if request.param == "authority" else tls.certificate
    made = Served(tls, tmp_path, ca, tls.authority.identity("client"))
    yield made
    await made.backend.close()


async def test_containers_and_stacks_are_run_over_tls(served: Served, tls: TlsEngine) -> None:
    found = await served.backend.test_target(served.target)
    assert (found.code, found.steps[0].detail, found.lacking) == ("", f"127.0.0.1:{tls.port}", {})
    assert (await served.run("container_create", container_name="web", image=BOX)).outcome == "succeeded"
    assert (await served.run("container_delete", container_name="web", force=True)).outcome == "succeeded"
    compose = f"services: {{one: {{image: {BOX}}}}}"
    done = await served.run("stack_deploy", stack_name="shop", compose=compose)
    assert (done.outcome, done.output["services"]) == ("succeeded", {"one": "running"})
    assert (await served.run("stack_remove", stack_name="shop")).outcome == "succeeded"


async def test_another_certificate_than_the_pinned_one_is_refused(tls: TlsEngine, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    made = Served(tls, tmp_path, other.pem, tls.authority.identity("client"))
    with pytest.raises(WritError) as refused:
        await made.run("container_list")
    assert refused.value.code == "certificate_changed"
    assert (await made.backend.test_target(made.target)).code == "certificate_changed"
    await made.backend.close()


async def test_an_engine_that_does_not_know_our_certificate_lets_nothing_in(tls: TlsEngine, tmp_path: Path) -> None:
    made = Served(tls, tmp_path, tls.authority.pem, Authority(tmp_path / "other").identity("client"))
    with pytest.raises(WritError) as refused:
        await made.run("container_list")
    assert refused.value.code in ("unreachable", "connection_lost")
    await made.backend.close()
