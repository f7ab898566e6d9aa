"""A signed preview is of the files in its state, also if a folder on their path has another name for a moment."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from writ_agent.backends.port import Task
from writ_agent.preflight.signed_preview import signed_preview
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent_local.backend import LocalBackend
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.decisions import PolicyVersion, ReadGrant
from writ_contracts.errors import Conflict
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.people.previews import Preview
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign

ID, HEX = encode_id(bytes(16)), "ab" * 32


class SwappingBackend(LocalBackend):
    """Swaps the folders around each preview, as somebody with a file manager could. Files keep all their times."""

    swap: Callable[[], None] = staticmethod(lambda: None)

    async def preview(self, task: Task) -> dict[str, Any]:
        self.swap()
        try:
            return await super().preview(task)
        finally:
            self.swap()


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """Return a root with the same names in two folders."""
    root = tmp_path.resolve() / "srv"
    for folder in ("in", "other"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text(f"{folder}\n")
    (root / "file").write_text("present\n")
    return root


@pytest.fixture
def backend(tmp_path: Path) -> SwappingBackend:
    return SwappingBackend([], tmp_path / "marks")


async def previewed(backend: LocalBackend, srv: Path, operation: str, parameters: dict[str, Any]) -> ReadReply:
    """Return the signed preview, with its diff."""
    target = Target(id="here", role="testing", backend="local", file_roots=[str(srv)])
    version = PolicyVersion(name="p", version="1", digest=HEX, inventory_digest=HEX, principals_digest=HEX)
    grant = ReadGrant(
        operation_id=ID,
        operation=operation,
        target=target,
        pool="local",
        actions=["preview", "diff"],
        parameters_digest=HEX,
        policy=version,
        expires_at=time.time() + 60,
    )
    key = Key(generate_seed())
    ask = ReadRequest(look=sign(key, grant), action="preview", parameters=parameters, look_key=HEX)
    task = Task(
        operation_id=ID,
        attempt=1,
        operation=next(one for one in BUILT_IN if one.name == operation),
        target=target,
        parameters=parameters,
        timeout=20.0,
        diff=True,
    )
    identity = AgentIdentity(key=key, pool="local", instance="a")
    return await signed_preview(backend, identity, ask, task, time.time())


def cases(srv: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    inside, beside = f"{srv}/in/file", f"{srv}/file"
    return {
        "source": ("file_copy", {"source_path": inside, "dest_path": beside, "overwrite": True}),
        "destination": ("file_copy", {"source_path": beside, "dest_path": inside, "overwrite": True}),
        "written": ("file_write", {"file_path": inside, "content": "new\n"}),
    }


@pytest.mark.parametrize("case", ["source", "destination", "written"])
async def test_a_preview_of_another_file_than_that_of_the_state_is_refused(
    case: str, backend: SwappingBackend, srv: Path
) -> None:
    def swap() -> None:
        (srv / "in").rename(srv / "aside")
        (srv / "other").rename(srv / "in")
        (srv / "aside").rename(srv / "other")

    backend.swap = swap
    with pytest.raises(Conflict, match="while it was previewed"):
        await previewed(backend, srv, *cases(srv)[case])
    assert (srv / "in" / "file").read_text() == "in\n"


@pytest.mark.parametrize("case", ["source", "destination", "written"])
async def test_a_preview_is_compared_by_versions_and_does_not_show_them(
    case: str, backend: SwappingBackend, srv: Path
) -> None:
    reply = await previewed(backend, srv, *cases(srv)[case])
    assert reply.preview is not None
    assert reply.details is not None
    assert "diff" in reply.details.values
    preview = read(reply.preview, Preview)
    assert "version" in preview.state
    for values in (preview.shown, reply.details.values, reply.observed):
        assert {"version", "source_version"}.isdisjoint(values)
