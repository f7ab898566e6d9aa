"""The rules of a gateway restrict the targets behind it, in a whole installation, and grant nothing there."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_documents import yaml_file
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]
HOSTS = "file_read", "file_write", "file_delete", "test_noop"
POLICY: dict[str, Any] = {
    "name": "cascade",
    "require_approval_for_admin": False,
    "global_policies": [
        {"name": "hosts", "operations": list(HOSTS), "target_roles": ["development"], "allowed": True},
    ],
    "role_policies": {
        "gateway": [
            {"name": "no-deletes", "operations": ["file_delete"], "allowed": False},
            {
                "name": "reads",
                "operations": ["file_read"],
                "allowed": True,
                "parameter_constraints": {"file_path": {"pattern": "/srv/.*"}},
            },
            {"name": "writes", "operations": ["file_write"], "allowed": True, "requires_approval": True},
            {"name": "own", "operations": ["test_noop"], "allowed": False, "inherit": False},
            {"name": "grants-nothing", "operations": ["file_copy"], "allowed": True},
        ]
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("cascade")
    files = folder / "files"
    targets = [
        local_target("gw-1", files, role="gateway"),
        local_target("behind-1", files, gateway="gw-1"),
        local_target("free-1", files),
    ]
    home = prepare(folder, targets=targets, policy=yaml_file.dump({"policies": POLICY}))
    (files / "there").write_text("text")
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def code(writ: Writ, operation: str, target: str, **parameters: object) -> str:
    """The code of the decision where it is no plain allow; else the outcome."""
    answer = await writ.submit(operation, target, parameters)
    if answer.verdict is not None and answer.verdict.decision != "allow":
        return answer.verdict.code
    assert answer.operation_id is not None
    return (await writ.wait(answer.operation_id, timeout=20)).outcome or ""


async def test_a_gateway_restricts_what_is_behind_it(installation: RunningInstallation, writ: Writ) -> None:
    root = installation.home.root.parent / "files"
    made = {"file_path": str(root / "made"), "content": "x"}
    read = {"file_path": str(root / "there")}
    assert await code(writ, "file_write", "free-1", **made) == "succeeded"
    assert await code(writ, "file_write", "behind-1", **made) == "approval_required"
    assert await code(writ, "file_delete", "behind-1", file_path=made["file_path"]) == "denied"
    assert await code(writ, "file_delete", "free-1", file_path=made["file_path"]) == "succeeded"
    assert await code(writ, "file_read", "behind-1", **read) == "outside_gateway_limits"
    assert await code(writ, "file_read", "free-1", **read) == "succeeded"


async def test_a_gateway_grants_nothing_and_keeps_its_own_rules(installation: RunningInstallation, writ: Writ) -> None:
    root = installation.home.root.parent / "files"
    copy = {"source_path": str(root / "there"), "dest_path": str(root / "copy")}
    assert await code(writ, "file_copy", "behind-1", **copy) == "no_rule"
    assert await code(writ, "file_copy", "gw-1", **copy) == "succeeded"
    assert await code(writ, "test_noop", "behind-1") == "succeeded"
    assert await code(writ, "test_noop", "gw-1") == "denied"
    explained = await writ.policy.explain("file_delete", "behind-1", {"file_path": str(root / "x")})
    assert (explained.decision, explained.rules) == ("deny", ["no-deletes"])
