"""One engine, and one installation in containers for all tests without lasting changes."""

from collections.abc import Iterator

import pytest
from tests.lab.compose.composed import Composed, cloned
from tests.lab.compose.readme import typed
from tests.lab.engine import Engine, engine
from tests.lab.hosts import until

from writ_documents import yaml_file
from writ_testing.demo import POLICY, TARGET

SANDBOX = "/srv/sandbox"


@pytest.fixture(scope="package")
def docker() -> Iterator[Engine]:
    """An engine with the public images, and nothing else."""
    with engine() as made:
        yield made


@pytest.fixture(scope="package")
def composed(docker: Engine) -> Iterator[Composed]:
    """Start it as deploy/README.md says, then with the demo's policy and its target."""
    with cloned(docker, "writ") as made:
        try:
            made.shown = [made.type(line) for line in typed("In containers")]
            as_the_demo(made)
            until(
                lambda: TARGET in {one["id"] for one in made.writ("target", "list")}, 30.0, "the executor has read it"
            )
            yield made
        finally:
            print(made.type("docker compose logs --no-color --tail 300"))
            made.down()


def as_the_demo(composed: Composed) -> None:
    """The demo's policy, and its target besides the first one."""
    home = composed.home
    target = {"id": TARGET, "role": "development", "backend": "local", "connection": {"host": "sandbox"}}
    root = {"path": SANDBOX, "allow_system_root": True}
    known = yaml_file.read(home.inventory).data["targets"]
    home.inventory.write_text(yaml_file.dump({"targets": [*known, {**target, "file_roots": [root]}]}))
    home.policy.write_text(POLICY)
