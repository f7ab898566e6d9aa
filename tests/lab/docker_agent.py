"""A Docker agent under systemd, as docs/docker.md says, for an engine of the lab over TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.engine import Engine, bare_engine
from tests.lab.engine_certificates import Authority
from tests.lab.hosts import until
from tests.lab.site import Site, blocks, typed

DOCKER_AGENT = "writ-agent-docker@docker"
TEXT = (Path(__file__).parents[2] / "docs" / "docker.md").read_text()


@contextmanager
def engine_over_tls(folder: Path) -> Iterator[tuple[Engine, Authority]]:
    """Yield an engine on port 2376 of its address, and the authority of its certificates."""
    authority = Authority(folder)

    def settings(address: str) -> dict[str, Any]:
        certificate, key = authority.issue("engine", address)
        files = {"tlscacert": str(authority.file), "tlscert": str(certificate), "tlskey": str(key)}
        return {"hosts": [f"tcp://{address}:2376"], "tlsverify": True, **files}

    with bare_engine(settings) as engine:
        yield engine, authority


def add_docker_agent(site: Site, authority: Authority, address: str) -> None:
    """Type the lines of the text on the host of the services; return once the agent has sent a heartbeat."""
    (lines,) = blocks(TEXT.replace("engine.example.org", address))
    site.control.write("/root/writ/ca.pem", authority.pem)
    site.control.write("/root/writ/client.pem", authority.identity("client"))
    token = ""
    for line in lines:
        said = site.control.run(*typed(line), stdin=token if line.endswith("writ-enrol") else "", timeout=120.0)
        token = said if "agent token" in line else token
    until(lambda: site.agents("docker") == 1, 30.0, f"it is heard of: {site.control.show(DOCKER_AGENT, 'SubState')}")
