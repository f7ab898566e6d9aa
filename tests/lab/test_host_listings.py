"""Listings of a real host for the allowlists of a policy, each way: only existing things may be named."""

import json
from typing import Any

import pytest
from tests.lab.hosts import Host, until
from tests.lab.installation import Writ
from tests.lab.repository import Repository
from tests.lab.targets import LISTED, ROOT
from tests.lab.vault import Vault

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def named(writ: Writ, host: Host, packages: Repository, backups: Vault) -> dict[str, str]:
    """Return for each parameter a value on the host."""
    host.run("apt-get", "-q", "update")
    host.run("apt-get", "-qy", "install", "hello")
    host.write(f"{ROOT}/listed/a", "a")
    writ.run("backup_create", "backup_id=listed", f"target_path={ROOT}/listed")
    return {"service_name": "nginx", "package_name": "hello", "backup_id": "listed", "port": "80"}


GIVEN = {
    "backup_restore": [f"target_path={ROOT}/listed"],
    "network_test": ["host=127.0.0.1", "protocol=tcp", "count=1"],
}
ABSENT = {"service_name": "no-such-unit", "package_name": "no-such", "backup_id": "liste", "port": "79"}


@pytest.mark.parametrize("parameter", ABSENT)
def test_rule_by_a_listing_allows_only_names_on_the_host(
    writ: Writ, host: Host, named: dict[str, str], parameter: str
) -> None:
    (operation,) = LISTED[parameter][1]
    given = [*GIVEN.get(operation, []), *([] if operation == "network_test" else ["--dry-run"])]
    seen = judged(writ, host, operation, f"{parameter}={named[parameter]}", *given)
    assert seen["outcome"] in ("previewed", "succeeded")
    denied = judged(writ, host, operation, f"{parameter}={ABSENT[parameter]}", *given)
    assert (denied["outcome"], denied["code"]) == ("denied", "no_rule")


def test_only_a_snapshot_that_is_there_may_be_named(writ: Writ, host: Host, subvolume: str) -> None:
    writ.run("snapshot_create", "snapshot_name=listed", f"target_path={subvolume}")
    asked = ("snapshot_restore", f"target_path={subvolume}", "--dry-run")
    assert judged(writ, host, *asked, "snapshot_name=listed")["outcome"] == "previewed"
    assert judged(writ, host, *asked, "snapshot_name=liste")["code"] == "no_rule"


def judged(writ: Writ, host: Host, operation: str, *words: str) -> dict[str, Any]:
    """Return the outcome where only listed things may be named. Ask again if the host was too slow to list."""

    def check() -> dict[str, Any] | None:
        answer = writ.call("run", operation, "--target", f"listed-{host.name}", *words, "-o", "json")[1]
        view: dict[str, Any] = json.loads(answer)
        return None if view["code"] == "rule_error" else view

    return until(check, 60.0, f"{operation} is judged")
