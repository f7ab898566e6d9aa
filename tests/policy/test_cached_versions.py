"""Versions of the policy that second decisions cache."""

from pathlib import Path

import pytest
from tests.policy.publishing import document, publish, publishable
from tests.rules.asking import CATALOGUE

from writ_documents import yaml_file
from writ_rules.engine.compile import Policy
from writ_rules.loading import checked_document
from writ_rules.second_decisions import version_history
from writ_rules.second_decisions.version_history import VersionHistory

RESTARTS = {"name": "restarts", "operations": ["service_restart"], "allowed": True}


@pytest.mark.parametrize(("most", "compiled"), [(10_000, 2), (1, 3)])
async def test_versions_with_many_rules_are_not_cached_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, compiled: int
) -> None:
    read: list[object] = []

    def counted(data: bytes, name: str) -> Policy:
        read.append(name)
        return checked_document(yaml_file.parse(data, name), CATALOGUE)

    monkeypatch.setattr(version_history, "MOST_RULES", most)
    async with publishable(tmp_path) as asking:
        await publish(asking, document(RESTARTS, {**RESTARTS, "name": "other"}))
        versions = VersionHistory(asking.bus.policies, counted, {asking.files.keys["policy"].public: 1 << 60}, "")
        for number in (1, 2, 2, 1):
            assert (await versions.of(number)).policy.rules > 0
    assert len(read) == compiled
