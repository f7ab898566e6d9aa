"""Listings are signed and complete, and need a read grant. A failed listing is an error, never an empty list."""

import asyncio
import secrets
from typing import Any

import pytest
from tests.agent.conftest import POOL, TARGET, World, until

from writ_agent.backends.port import Task
from writ_agent.preflight.host_reads import READS_AT_ONCE
from writ_contracts.agents import ReadRequest
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.ids import encode_id
from writ_contracts.policy.facts import MOST_NAMES, OTHER_NAMES, Listing
from writ_trust.statements import digest, open_signed

KEY = "ab" * 32


def ask(world: World, *sources: str, **changed: Any) -> ReadRequest:
    operation_id = encode_id(secrets.token_bytes(16))
    actions = changed.pop("actions", ["listing"])
    fields = {"sources": list(sources), **changed}
    look = world.executor.read_grant(operation_id, "test_count", TARGET, actions, {}, KEY, **fields)
    return ReadRequest(look=look, action="listing", parameters={}, look_key=KEY, timeout=20.0)


async def listed(world: World, *sources: str) -> list[Listing]:
    request = ask(world, *sources)
    looked = await world.executor.request_read(request, POOL)
    assert looked.error is None
    found = [open_signed(one, Listing, (world.key.public,), "") for one in looked.listings]
    assert {one.look_digest for one in found} == {digest(request.look)}
    return found


async def test_a_listing_is_signed_and_names_the_read_grant_and_the_target(world: World) -> None:
    await world.agent()
    world.backend.listed["list_services"] = ("nginx", "cron", "nginx")
    (found,) = await listed(world, "list_services")
    assert (found.names, found.failure) == (["cron", "nginx"], "")
    assert (found.source, found.target, found.pool) == ("list_services", TARGET.id, POOL)


async def test_empty_and_failed_listings_are_distinguished(world: World) -> None:
    await world.agent()
    world.backend.listed |= {"list_services": (), "list_ports": Unreachable("/proc is not there")}
    services, ports, packages = await listed(world, "list_services", "list_ports", "list_packages")
    assert (services.names, services.failure) == ([], "")
    assert (ports.names, ports.failure) == ([], "/proc is not there")
    assert (packages.names, packages.failure) == ([], "this agent cannot list packages")


async def test_listing_above_the_limit_fails_without_names(world: World) -> None:
    await world.agent()
    world.backend.listed["list_services"] = [f"unit-{number}" for number in range(MOST_NAMES + 1)]
    (found,) = await listed(world, "list_services")
    assert found.names == []
    assert "too long" in found.failure


async def test_invalid_read_grant_permits_no_listing(world: World) -> None:
    await world.agent()
    wrong: list[dict[str, Any]] = [{"actions": ["preview"]}, {"pool": "pool-2"}, {"parameters_digest": "0" * 64}]
    for changed in wrong:
        looked = await world.executor.request_read(ask(world, "list_services", **changed), POOL)
        assert looked.error is not None
        assert looked.error.code == "grant_refused"
    assert world.backend.looks == []
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"] * 3)


async def test_an_agent_whose_only_slot_is_taken_still_lists(world: World) -> None:
    go_on = world.held("test_noop")
    await world.agent(slots=1)
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await until(lambda: bool(world.backend.tasks))
    (found,) = await listed(world, "list_services")
    assert found.names == ["nginx"]
    go_on.set()
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    await until(lambda: not world.backend.running)


async def test_only_so_many_listings_of_a_target_run_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, go_on = 0, 0, asyncio.Event()

    async def listing(target: object, source: str) -> list[str]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == READS_AT_ONCE:
            go_on.set()
        await go_on.wait()
        now -= 1
        return ["nginx"]

    monkeypatch.setattr(world.backend, "listing", listing)
    await world.agent()
    found = await asyncio.gather(*(listed(world, "list_services") for _ in range(3 * READS_AT_ONCE)))
    assert [one.names for (one,) in found] == [["nginx"]] * 3 * READS_AT_ONCE
    assert most == READS_AT_ONCE


async def named(
    world: World, observed: dict[str, Any] | WritError, monkeypatch: pytest.MonkeyPatch
) -> tuple[Listing, Task]:
    """Return the listed aliases of a thing with this baseline, and the calls that the backend got."""
    tasks: list[Task] = []

    async def baseline(task: Task) -> dict[str, Any]:
        tasks.append(task)
        if isinstance(observed, WritError):
            raise observed
        return observed

    monkeypatch.setattr(world.backend, "baseline", baseline)
    looked = await world.executor.request_read(ask(world, OTHER_NAMES, named="ssh"), POOL)
    assert looked.error is None
    (found,) = [open_signed(one, Listing, (world.key.public,), "") for one in looked.listings]
    return found, tasks[0]


async def test_aliases_are_listed_as_the_baseline_has_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.agent()
    found, task = await named(world, {"names": ["sshd", "openssh"]}, monkeypatch)
    assert (found.source, found.names, found.failure) == (OTHER_NAMES, ["openssh", "sshd"], "")
    assert (task.operation.name, "ssh" in task.parameters.values()) == ("test_count", True)
    for error in (Invalid("an alias", code="unit_alias"), Invalid("none", code="unit_not_found")):
        found, _ = await named(world, error, monkeypatch)
        assert (found.names, found.failure) == ([], "")


async def test_missing_names_are_no_empty_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.agent()
    for observed in ({}, {"names": None}, Unreachable("the host is away")):
        found, _ = await named(world, observed, monkeypatch)
        assert found.names == []
        assert found.failure


async def test_another_host_key_is_a_security_event_where_something_is_listed_too(world: World) -> None:
    await world.agent()
    changed = Untrusted("host-1 does not show the host key that is on record", code="host_key_changed")
    world.backend.listed |= {"list_services": changed, "list_ports": changed}
    found = await listed(world, "list_services", "list_ports")
    assert {one.failure for one in found} == {str(changed)}
    await world.executor.until(lambda: bool(world.executor.reports))
    (report,) = world.executor.reports
    assert (report.kind, report.operation_id) == ("host_key_changed", found[0].operation_id)
