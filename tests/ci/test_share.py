"""Which tests a share of `make test-full` begins with."""

import time
from pathlib import Path

import pytest
from tests.ci.share import Chooser, Share, order

from writ_testing.exhaustive import UNTIL, time_for

RULES = ("libs/rules/writ_rules/engine.py",)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "tests/rules/test_limits.py": "import json",
        "tests/policy/test_grants.py": "from writ_rules.engine import decide",
        "tests/faults/test_kills.py": "import writ_bus.nats.connection",
        "tests/faults/test_rolling.py": "import os",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def ordered(root: Path, *changed: str, seed: str = "1") -> list[str]:
    share = Share(changed=changed, seed=seed, until=0.0)
    return [path.stem for path in sorted(root.rglob("*.py"), key=lambda path: order(share, path, root))]


def test_share_begins_with_the_folder_of_the_changed_package_then_what_imports_it(root: Path) -> None:
    assert ordered(root, *RULES)[:2] == ["test_limits", "test_grants"]
    assert ordered(root, "services/policy/writ_policy/service.py")[0] == "test_grants"
    assert ordered(root, "libs/bus/writ_bus/nats/connection.py")[0] == "test_kills"


def test_share_begins_with_the_tests_that_were_changed(root: Path) -> None:
    assert ordered(root, "tests/faults/test_rolling.py")[0] in {"test_rolling", "test_kills"}
    assert set(ordered(root, "tests/faults/helper.py")[:2]) == {"test_rolling", "test_kills"}


def test_share_changes_with_the_commit_where_little_is_touched(root: Path) -> None:
    assert len({tuple(ordered(root, "README.md", seed=str(seed))) for seed in range(20)}) > 1
    assert ordered(root, "README.md") == ordered(root)


def test_share_starts_tests_until_its_time() -> None:
    assert Chooser(Share(changed=(), seed="", until=float("inf"))).pytest_runtest_protocol() is None
    assert Chooser(Share(changed=(), seed="", until=0.0)).pytest_runtest_protocol() is True


def test_a_test_without_an_end_of_its_own_ends_with_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UNTIL, raising=False)
    assert time_for(600.0) == 600.0
    monkeypatch.setenv(UNTIL, str(time.monotonic() + 60))
    assert 50 < time_for(600.0) <= 60
    monkeypatch.setenv(UNTIL, "0")
    assert time_for(600.0) == 5.0
