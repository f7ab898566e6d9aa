"""Versions of the policy that second decisions cache."""

from pathlib import Path
from typing import Any

import pytest
from tests.policy.publishing import document, publish, publishable
from tests.rules.asking import CATALOGUE

from writ_contracts.history.records import Record
from writ_documents import yaml_file
from writ_policy.versions import stored_versions
from writ_rules.engine.compile import Policy
from writ_rules.loading import checked_document
from writ_rules.second_decisions import version_history
from writ_rules.second_decisions.version_history import VersionHistory
from writ_trust.policy_versions import read_version

RESTARTS = {"name": "restarts", "operations": ["service_restart"], "allowed": True}


def compiled_here(data: bytes, name: str) -> Policy:
    return checked_document(yaml_file.parse(data, name), CATALOGUE)


@pytest.mark.parametrize(("most", "compiled"), [(10_000, 2), (1, 3)])
async def test_versions_with_many_rules_are_not_cached_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, compiled: int
) -> None:
    read: list[object] = []

    def counted(data: bytes, name: str) -> Policy:
        read.append(name)
        return compiled_here(data, name)

    monkeypatch.setattr(version_history, "MOST_RULES", most)
    async with publishable(tmp_path) as asking:
        await publish(asking, document(RESTARTS, {**RESTARTS, "name": "other"}))
        versions = VersionHistory(asking.bus.policies, counted, {asking.files.keys["policy"].public: 1 << 60}, "")
        for number in (1, 2, 2, 1):
            assert (await versions.of(number)).policy.rules > 0
    assert len(read) == compiled


async def test_version_in_force_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = list[int]()

    def counted(record: Record, *arguments: Any) -> Any:
        verified.append(record.sequence)
        return read_version(record, *arguments)

    monkeypatch.setattr(version_history, "read_version", counted)
    async with publishable(tmp_path) as asking:
        versions = VersionHistory(asking.bus.policies, compiled_here, {asking.files.keys["policy"].public: 1 << 60}, "")
        assert [(await versions.of(1)).replaced_at for _ in range(3)] == [None] * 3
        assert verified == [1]
        await publish(asking, document(RESTARTS))
        assert (await versions.of(1)).replaced_at is not None
        assert verified == [1, 2]


async def test_stored_version_in_force_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = list[int]()

    def counted(record: Record, *arguments: Any) -> Any:
        verified.append(record.sequence)
        return read_version(record, *arguments)

    monkeypatch.setattr(stored_versions, "read_version", counted)
    async with publishable(tmp_path) as asking:
        await publish(asking, document(RESTARTS))
        versions = asking.service._versions
        assert versions is not None
        await versions.read()
        before = list(verified)
        for _ in range(3):
            await versions.check_store()
        assert (verified, versions.taken_back) == (before, None)
