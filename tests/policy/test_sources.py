"""Decisions name the digest of exactly the bytes read; an unreadable file changes nothing."""

import asyncio
from pathlib import Path

import pytest
from msgspec import structs
from tests.policy.replica import RULES, Asking

from writ_contracts.errors import ConfigError
from writ_documents import shapes
from writ_policy.state import missing_names
from writ_policy.state.loading import with_digest
from writ_runtime.files import watched_file
from writ_testing.eventually import eventually


def test_a_digest_is_that_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    path = tmp_path / "moving"
    path.write_text("0")

    def moving(path: Path) -> str:
        text = path.read_text()
        if int(text) < 2:
            path.write_text(str(int(text) + 1))
        return text

    assert with_digest(moving)(path).value == "2"


def test_file_that_changes_during_each_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moving"
    path.write_text("0")

    def moving(path: Path) -> None:
        path.write_text(path.read_text() + "0")

    with pytest.raises(ConfigError, match="changes faster than it can be read"):
        with_digest(moving)(path)


async def test_files_read_before_a_cancelled_reading_count(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = asking.service._sources
    await asking.decision(asking.subject())

    async def cancelled(*, waits: bool = True) -> bool:
        raise asyncio.CancelledError

    entry = {"id": "web-new", "role": "development", "backend": "local", "agent": "a"}
    asking.files.write("inventory", {"targets": [entry]})
    with monkeypatch.context() as patched:
        patched.setattr(sources._lists["principals"], "refresh", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await sources.refresh()
    decided = await asking.decide(structs.replace(asking.subject(), target="web-a"))
    assert decided.error is not None
    assert decided.error.code == "unknown_target"


async def test_files_are_checked_once_for_the_decisions_of_one_turn(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, checked = asking.service._sources, list[object]()
    before = await asking.decision(asking.subject())

    def counted(path: Path | str) -> watched_file.Stamp | None:
        checked.append(path)
        return stamp(path)

    stamp = watched_file.stamp
    monkeypatch.setattr(watched_file, "stamp", counted)
    snapshots = await asyncio.gather(*(sources.refresh() for _ in range(5)))
    assert len(checked) == len(set(checked)) > 0
    entry = {"id": asking.subject().target, "role": "development", "backend": "local", "agent": "a"}
    asking.files.write("inventory", {"targets": [entry]})
    after = await asking.decision(asking.subject())
    assert after.policy.inventory_digest != before.policy.inventory_digest
    assert await sources.refresh() is not snapshots[0]


def large(text: str) -> str:
    """Return an inventory too large for a request to wait for."""
    rest = "".join(f"  - {{id: other-{number}, role: staging, backend: local}}\n" for number in range(2_000))
    return f"targets:\n{text}{rest}"


async def test_decisions_go_on_while_a_large_inventory_is_read(asking: Asking) -> None:
    first = await asking.decision(asking.subject())
    target = asking.subject().target
    asking.files.write("inventory", large(f"  - {{id: {target}, role: development, backend: local, agent: a}}\n"))
    assert (await asking.decision(asking.subject())).policy.inventory_digest == first.policy.inventory_digest
    # That a target is unknown is said by the present file alone.
    decided = await asking.decide(structs.replace(asking.subject(), target="other-7"))
    assert decided.error is None
    assert (await asking.decision(asking.subject())).policy.inventory_digest != first.policy.inventory_digest


async def test_unusable_large_inventory_is_reported_once_and_the_last_one_stays(asking: Asking) -> None:
    first = await asking.decision(asking.subject())
    asking.files.write("inventory", large("  - {id: web-a, role: nowhere}\n"))
    for _ in range(2):
        await asking.service._sources.refresh(waits=True)
        decision = await asking.decision(asking.subject())
        assert decision.policy.inventory_digest == first.policy.inventory_digest
    check = await asking.service.checks()["inventory"]()
    assert check is not None
    assert "nowhere" in check
    assert b'writ_policy_load_errors_total{file="inventory"} 1.0' in asking.measured.exposition()[0]


@pytest.mark.parametrize("name", ["policy", "inventory", "principals", "agents"])
async def test_a_file_that_its_reader_has_a_defect_with_leaves_the_last_good_one_in_force_loudly(
    asking: Asking, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(document: object, kind: object) -> None:
        raise TypeError("no such type")

    await asking.decision(asking.subject())
    with monkeypatch.context() as patched:
        patched.setattr(shapes, "convert", defective)
        asking.files.write(name, asking.files.path(name).read_text() + "\n")
        assert await asking.code(asking.subject()) == "allowed"
        check = await asking.service.checks()[name]()
        assert check is not None
        assert "can't be read for a defect in writ: TypeError: no such type" in check
    assert {"file.defect", "file.refused"} <= {record.getMessage() for record in caplog.records}
    assert f'writ_policy_load_errors_total{{file="{name}"}} 1.0'.encode() in asking.measured.exposition()[0]
    asking.files.policy({**RULES[0], "allowed": False})
    assert await asking.code(asking.subject()) == "denied"


async def test_a_defect_of_lint_does_not_end_the_watch(
    asking: Asking, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(*_: object, **__: object) -> None:
        raise TypeError("no such type")

    async def defect_is_logged() -> bool:
        return "policy.lint_defect" in [record.getMessage() for record in caplog.records]

    async def noticed() -> bool:
        return asking.service._sources.file.error is not None

    monkeypatch.setattr(missing_names, "lint_with", defective)
    asking.files.policy(RULES[0])
    await eventually(defect_is_logged, what="the defect in the log")
    asking.files.write("policy", "policies: 7")
    await eventually(noticed, what="a bad file that nobody asked for")
