"""Traces from containers: with the endpoint of deploy/traces.yaml an operation is one trace at the collector."""

import re
import shutil
from collections.abc import Iterator

import pytest
from tests.lab.compose.composed import REPOSITORY, UID, Composed, cloned
from tests.lab.compose.conftest import SANDBOX, as_the_demo
from tests.lab.engine import Engine
from tests.lab.hosts import until
from tests.runtime.collector import ReceivedSpan, decoded

from writ_testing.demo import first_operation

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SERVICES = {"writ-client", "writ-executor", "writ-policy", "writ-agent-local", "writ-audit"}
EXAMPLE = REPOSITORY / "deploy" / "traces.yaml"


@pytest.fixture
def traced(composed: Composed, docker: Engine) -> Iterator[Composed]:
    """Yield a separate installation with the existing images and the example's endpoint."""
    (line,) = re.findall(r"^#   (OTEL_EXPORTER_OTLP_ENDPOINT=.*)$", EXAMPLE.read_text(), re.MULTILINE)
    with cloned(docker, "writ-traces", offset=200) as made:
        try:
            made.type('docker compose run --rm --user "$(id -u):$(id -g)" init')
            as_the_demo(made)
            made.type(f"mkdir spans && echo '{line}' >> .env && echo COMPOSE_PROFILES=traces >> .env")
            made.up(agent_ssh=0, prometheus=0, alertmanager=0)
            yield made
        finally:
            print(made.type("docker compose logs --no-color --tail 100"))
            made.down()


def spans(traced: Composed, trace_id: str) -> list[ReceivedSpan]:
    """Return the received spans of this trace."""
    taken = [path for path in (traced.folder / "spans").iterdir() if not path.name.startswith(".")]
    return [one for path in taken for one in decoded(path.read_bytes()) if one.trace_id == trace_id]


def test_an_operation_in_containers_is_one_trace_at_the_collector(traced: Composed) -> None:
    path = traced.folder / "writ-sandbox" / "traced"
    path.write_text("old words\n")
    shutil.chown(path, UID, UID)
    done = traced.writ(*first_operation(f"{SANDBOX}/traced"))
    assert path.read_text() == "new words"
    (first, *_) = traced.writ("trace", done["operation_id"])["events"]
    trace_id = first["body"]["traceparent"].split("-")[1]

    def whole() -> bool:
        seen = spans(traced, trace_id)
        ids = {one.span_id for one in seen} | {""}
        indexed = any(one.name == "index finished" for one in seen)
        everybody = {one.service for one in seen} >= SERVICES  # each sends its own every few seconds
        return everybody and indexed and all(one.parent_id in ids for one in seen)

    until(whole, 60.0, "a connected trace, with a part of each service")
    assert {one.service for one in spans(traced, trace_id)} == SERVICES
