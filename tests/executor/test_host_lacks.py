"""What a host lacks counts by the latest test of an agent of its own pool, for the entry that was tested."""

from typing import Any

import pytest
from msgspec import structs

from writ_contracts.agents import Heartbeat
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_contracts.requests import ExpectedFailure
from writ_contracts.target_tests import KNOWN_SECONDS, HostLack, SurveyedTarget
from writ_executor.agents.host_lacks import MOST_SUCCEEDED, HostLacks
from writ_executor.agents.presence import AgentPresence
from writ_executor.requests.expected_failures import expected_failure
from writ_trust.digests import entry_digest

CATALOGUE = Catalogue(BUILT_IN)
WEB = Target(id="web-1", role="testing", backend="local", agent="pool-1", file_roots=["/srv"])
NO_SYSTEMD = HostLack(
    code="unavailable", message="no systemd", operations=["service_stop", "service_start"], dry_run=True
)
NO_COMPOSE = HostLack(code="tool_missing", message="no compose", operations=["stack_deploy"])
FAILS = ExpectedFailure(code="unavailable", message="no systemd", found_at=9_900.0)


class Executors:
    """What an executor knows of hosts; the journal's clock is at 10,000 when the boot clock is at 1,000."""

    def __init__(self) -> None:
        self.boot = 1_000.0
        self.presence = AgentPresence(lease=1e6, clock=lambda: self.boot)
        self.lacks = HostLacks(self.presence, lambda: self.boot + 9_000.0)

    def beat(
        self, *lacks: HostLack, pool: str = "pool-1", instance: str = "one", age: float = 100.0, **more: Any
    ) -> None:
        row = {"target": "web-1", "entry": entry_digest(WEB), "age": age, "lacks": list(range(len(lacks)))}
        self.presence.record(
            Heartbeat(
                pool=pool,
                instance=instance,
                running=[],
                free_slots=1,
                operations=[],
                version="1",
                lacks=list(lacks),
                tested=[SurveyedTarget(**{**row, **more})],
            )
        )

    def failure(self, operation: str = "service_stop", target: Target = WEB, **more: Any) -> ExpectedFailure | None:
        given = {"dry_run": False, "parameters": {}, **more}
        return expected_failure(self.lacks, target, CATALOGUE[operation], given["parameters"], dry_run=given["dry_run"])


@pytest.fixture
def known() -> Executors:
    return Executors()


def test_lack_is_named_with_the_time_of_its_test(known: Executors) -> None:
    assert (known.failure(), known.lacks.tested_at(WEB)) == (None, None)
    known.beat(NO_SYSTEMD)
    known.boot += 50
    assert (known.failure(), known.lacks.tested_at(WEB)) == (FAILS, 9_900.0)
    assert known.lacks.failures(WEB) == {"service_stop": FAILS, "service_start": FAILS}
    assert known.failure("service_status") is None
    known.boot += KNOWN_SECONDS
    assert (known.failure(), known.lacks.tested_at(WEB)) == (None, None)


def test_agent_of_another_pool_says_nothing_of_a_target(known: Executors) -> None:
    known.beat(NO_SYSTEMD, pool="pool-2")
    assert known.failure() is None


def test_lack_of_an_entry_that_was_changed_since_does_not_count(known: Executors) -> None:
    known.beat(NO_SYSTEMD)
    assert known.failure(target=structs.replace(WEB, tags=["new"])) is None


def test_latest_test_by_any_agent_of_the_pool_counts(known: Executors) -> None:
    known.beat(NO_SYSTEMD, age=100.0)
    known.beat(instance="two", age=50.0)
    assert (known.failure(), known.lacks.tested_at(WEB)) == (None, 9_950.0)
    known.beat(NO_SYSTEMD, age=-1e9)  # it cannot be of the future
    assert known.failure() == structs.replace(FAILS, found_at=10_000.0)


def test_success_of_an_operation_ends_the_lack_of_all_that_need_the_same(known: Executors) -> None:
    known.beat(NO_SYSTEMD, NO_COMPOSE)
    known.lacks.succeeded("web-1", "service_start", 9_899.0)
    assert known.failure() == FAILS
    known.lacks.succeeded("web-1", "service_start", 9_901.0)
    assert known.failure() is None
    assert known.failure("stack_deploy") is not None
    for number in range(MOST_SUCCEEDED):
        known.lacks.succeeded(f"host-{number}", "service_start", 9_999.0)
    assert known.failure() == FAILS
    assert len(known.lacks._succeeded) == MOST_SUCCEEDED


def test_dry_run_fails_only_where_it_reads_what_the_host_lacks(known: Executors) -> None:
    known.beat(NO_SYSTEMD, NO_COMPOSE)
    assert known.failure(dry_run=True) == structs.replace(FAILS, message="no preview: no systemd")
    assert known.failure("stack_deploy", dry_run=True) is None
    path = {"file_path": "/etc/passwd"}
    assert known.failure("file_delete", parameters=path) is not None
    assert known.failure("file_delete", parameters=path, dry_run=True) is not None
    assert known.failure("file_read", parameters=path, dry_run=True) is None


def test_place_of_a_lack_that_the_heartbeat_does_not_have_is_ignored(known: Executors) -> None:
    known.beat(NO_SYSTEMD, lacks=[7])
    assert known.failure() is None
