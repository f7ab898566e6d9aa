"""Approvals, end to end: an installation with real processes and NATS permissions, and people as approvers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from writ_bus.errors import Forbidden
from writ_bus.port import Entry
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Denied, Untrusted
from writ_contracts.journal import Approved
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"roles": ["operator"]},
    "bob": {"roles": ["approver"]},
    "carol": {"roles": ["approver", "lead"]},
    "copilot": {"kind": "agent", "roles": ["operator"], "acts_for": "alice"},
}
RULES: list[dict[str, Any]] = [
    {
        "name": "one",
        "operations": ["test_noop", "test_secret", "file_delete"],
        "allowed": True,
        "requires_approval": True,
    },
    {
        "name": "steps",
        "operations": ["test_count"],
        "allowed": True,
        "approval": {"steps": [{"approvers": ["approver"], "quorum": 1}, {"approvers": ["lead"]}]},
    },
    {"name": "short", "operations": ["test_fail"], "allowed": True, "approval": {"timeout": "2s"}},
    {"name": "sleeps", "operations": ["test_sleep"], "allowed": True, "requires_approval": True},
    {"name": "stops", "operations": ["stop_set"], "allowed": True},
    {"name": "lifts", "operations": ["stop_lift"], "allowed": True, "requires_approval": True},
]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2", "WRIT_SWEEP": "0.5"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("approvals")
    targets = [local_target("web-1", folder / "files"), local_target("web-2", folder / "files")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home, executors=2, environ=ENVIRON) as running:
        yield running


@asynccontextmanager
async def people(installation: RunningInstallation, *names: str) -> AsyncIterator[list[Writ]]:
    clients = [await installation.client(name) for name in names]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


def policy_key(installation: RunningInstallation) -> tuple[str]:
    return (installation.home.key("policy").public,)


async def submitted(writ: Writ, operation: str = "test_noop", target: str = "web-1", **parameters: Any) -> str:
    answer = await writ.submit(operation, target, parameters, reason="a test")
    assert (answer.state, answer.outcome) == ("awaiting_approval", None), answer
    return answer.operation_id or ""


async def approve(installation: RunningInstallation, writ: Writ, operation_id: str, reason: str = "fine") -> str:
    card = await writ.approvals.card(operation_id, policy_key(installation))
    assert card.unverified == []
    return (await writ.approvals.approve(card, reason=reason)).state


async def is_stopped(writ: Writ, stopped: bool) -> bool:
    """Return true if a few simulations in a row report the stop, whichever executor answers each."""
    answers = [await writ.simulate("test_sleep", "web-2", {"seconds": 0}) for _ in range(6)]
    return all(one.verdict is not None and (one.verdict.code == "stopped") == stopped for one in answers)


async def test_a_second_person_approves_and_it_runs(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice)
        listed = (await bob.approvals.pending()).pending
        assert [(one.operation_id, one.yours) for one in listed] == [(operation_id, True)]
        card = await bob.approvals.card(operation_id, policy_key(installation))
        assert card.sentence == "alice requests test_noop on web-1"
        assert card.short == listed[0].digest[:4] + "-" + listed[0].digest[4:8]
        assert await approve(installation, bob, operation_id) == "approved"
        done = await alice.wait(operation_id, timeout=20)
        assert done.outcome == "succeeded"
        trace = await alice.trace(operation_id=operation_id)
        kinds = [event.kind for event in trace.events if event.kind not in ("lock_taken", "limit_taken")]
        assert kinds == ["requested", "awaiting_approval", "approved", "dispatched", "granted", "finished"], trace
        assert (await bob.approvals.pending()).pending == []
    for approver, ids in (("bob", f"{operation_id}\n"), ("carol", "")):
        found = await installation.writ("audit", "search", "--approver", approver, "--as", "alice", "-q")
        assert (found.status, found.out) == (0, ids), found.err


async def test_rejected_operation_ends_as_rejected_and_never_as_expired(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob", "carol") as (alice, bob, carol):
        operation_id = await submitted(alice)
        late = await carol.approvals.card(operation_id, policy_key(installation))
        card = await bob.approvals.card(operation_id, policy_key(installation))
        assert (await bob.approvals.reject(card, reason="not today")).state == "rejected"
        ended = await alice.wait(operation_id, timeout=20)
        assert (ended.outcome, ended.message) == ("rejected", "rejected by bob: not today")
        with pytest.raises(Conflict, match="was rejected by bob"):  # the second of two verdicts is refused
            await carol.approvals.approve(late)


async def test_neither_the_requester_nor_their_agent_nor_its_human_approves(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "copilot") as (alice, copilot):
        for writ in (alice, copilot):
            operation_id = await submitted(writ)
            theirs = await writ.approvals.card(operation_id, policy_key(installation))
            for other in (alice, copilot):
                with pytest.raises(Denied):
                    await other.approvals.approve(theirs)
                with pytest.raises(Denied):
                    await other.approvals.reject(theirs)
            assert (await writ.get(operation_id)).state == "awaiting_approval"
            await writ.cancel(operation_id)
            assert (await writ.wait(operation_id, timeout=10)).outcome == "cancelled"


async def test_approval_steps_are_counted_in_order_with_their_quorum(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob", "carol") as (alice, bob, carol):
        operation_id = await submitted(
            alice, "test_count", path=str(installation.home.root.parent / "files" / "counted")
        )
        assert await approve(installation, bob, operation_id) == "awaiting_approval"
        again = await bob.approvals.card(operation_id, policy_key(installation))
        assert (again.step, again.waits_for, again.remaining) == ("", "one of role lead", 1)
        shown = await installation.writ("approvals", "show", operation_id, "--as", "bob")
        assert "  waits for: one of role lead; 1 more needed" in shown.out.splitlines()
        with pytest.raises(Conflict, match="bob has approved it already"):
            await bob.approvals.approve(again)
        assert await approve(installation, carol, operation_id) == "approved"
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"


async def test_operation_expires_without_an_approval_in_time(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice, "test_fail")
        card = await bob.approvals.card(operation_id, policy_key(installation))
        ended = await alice.wait(operation_id, timeout=60)
        assert (ended.outcome, ended.code) == ("expired", "not_approved")
        assert "one of role approver" in ended.message
        assert ended.updated_at - ended.requested_at > 1.9
        with pytest.raises(Conflict, match="expired"):
            await bob.approvals.approve(card)


async def test_an_approver_gets_an_event(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        async with asyncio.timeout(20), aclosing(await bob.approvals.listen()) as events:
            operation_id = await submitted(alice)
            await alice.cancel(operation_id)
            heard = [await anext(events), await anext(events)]
        assert [(one.kind, one.operation_id) for one in heard] == [
            ("pending", operation_id),
            ("cancelled", operation_id),
        ]
        assert (heard[0].principal, heard[0].operation, heard[0].target) == ("alice", "test_noop", "web-1")


async def test_a_control_operation_that_needs_approval_takes_effect_after_it(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        stop = await alice.stop_set(["web-2"], reason="a test")
        await eventually(lambda: is_stopped(alice, True), what="the stop, as every executor knows it")
        operation_id = await submitted(alice, "stop_lift", "writ", stop_id=stop.output["id"])
        assert await approve(installation, bob, operation_id) == "approved"
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
        await eventually(lambda: is_stopped(alice, False), what="the lift, as every executor knows it")


async def test_a_stop_in_between_wins_over_an_approval(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice, "test_sleep", "web-2", seconds=0)
        stop = await alice.stop_set(["web-2"], reason="a freeze")
        assert await approve(installation, bob, operation_id) == "approved"
        ended = await alice.wait(operation_id, timeout=20)
        assert (ended.outcome, ended.code) == ("denied", "stopped")
        lift = await submitted(alice, "stop_lift", "writ", stop_id=stop.output["id"])
        await approve(installation, bob, lift)
        assert (await alice.wait(lift, timeout=20)).outcome == "succeeded"
        await eventually(lambda: is_stopped(alice, False), what="the lift, as every executor knows it")


async def test_hidden_parameters_are_only_rejected_unless_the_requester_gives_them(
    installation: RunningInstallation,
) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice, "test_secret", secret="s3cret-canary")
        card = await bob.approvals.card(operation_id, policy_key(installation))
        with pytest.raises(Denied, match="secret is hidden"):
            await bob.approvals.approve(card)
        result = await installation.writ("approvals", "approve", operation_id, "--as", "bob", stdin=b"y\n")
        assert (result.status, "--parameter NAME=VALUE" in result.err) == (3, True)
        assert "Approve" not in result.err  # what would be refused is not asked
        with pytest.raises(Untrusted, match="other parameters"):
            await bob.approvals.card(operation_id, policy_key(installation), hidden={"secret": "another"})
        full_card = await bob.approvals.card(operation_id, policy_key(installation), hidden={"secret": "s3cret-canary"})
        assert (await bob.approvals.approve(full_card)).state == "approved"
        assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"


async def test_a_dry_run_needs_no_approval_and_changes_nothing(installation: RunningInstallation) -> None:
    async with people(installation, "alice") as (alice,):
        counted = installation.home.root.parent / "files" / "never"
        done = await alice.run("test_count", "web-1", {"path": str(counted)}, dry_run=True, timeout=20)
        assert (done.outcome, counted.exists()) == ("previewed", False)


async def test_operation_is_stale_after_the_policy_changed(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice, "test_sleep", "web-2", seconds=0)
        card = await bob.approvals.card(operation_id, policy_key(installation))
        stricter = [rule for rule in RULES if rule["name"] != "sleeps"]
        stricter.append({"name": "sleeps", "operations": ["test_sleep"], "allowed": True, "approval": {"quorum": 2}})
        with installation.paused("executor"):
            await bob.approvals.approve(card)
            installation.home.policy.write_text(open_policy(*stricter))
        ended = await alice.wait(operation_id, timeout=30)
        installation.home.policy.write_text(open_policy(*RULES))
        assert (ended.outcome, ended.code) == ("stale", "stale"), ended
        assert "2 of role approver" in ended.message


async def test_approval_survives_restarts_between_its_steps(installation: RunningInstallation) -> None:
    """Kill -9 of executors while it is parked, of policy before the verdict, of executors right after it."""
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice, "test_count", path=str(installation.home.root.parent / "files" / "again"))
        for name in ("executor-1", "executor-2", "policy"):
            await installation.until(name, other_than=installation.kill(name))
        assert await approve(installation, bob, operation_id) == "awaiting_approval"
        for name in ("executor-1", "executor-2", "policy"):
            await installation.until(name, other_than=installation.kill(name))
        async with people(installation, "carol") as (carol,):
            card = await carol.approvals.card(operation_id, policy_key(installation))
            with installation.paused("executor"):
                assert (await carol.approvals.approve(card)).state == "approved"
                killed = [(name, installation.kill(name)) for name in ("executor-1", "executor-2")]
            for name, pid in killed:
                await installation.until(name, other_than=pid)
        assert (await alice.wait(operation_id, timeout=30)).outcome == "succeeded"
        assert (installation.home.root.parent / "files" / "again").read_text().count(operation_id) == 1


@pytest.mark.parametrize("service", ["executor", "audit"])
async def test_no_service_but_policy_can_append_an_approval(installation: RunningInstallation, service: str) -> None:
    async with people(installation, "alice") as (alice,):
        operation_id = await submitted(alice, target="web-2")
        key = installation.home.key(service)
        bus = await open_bus(Context(principal=service, url=installation.url), key.seed, wait=10)
        try:
            last = await bus.journal.last(subjects.operation_filter("alice", operation_id))
            assert last is not None
            event = Approved(id="a", at=0.0, correlation_id="c", operation_id=operation_id, approvals=[])
            for kind in ("approved", "approval_given", "rejected"):
                entry = Entry(
                    subject=subjects.operation_event("alice", operation_id, kind),
                    data=encode(event),
                    event_id="a",
                    filter=subjects.operation_filter("alice", operation_id),
                    expected=last.sequence,
                )
                with pytest.raises(Forbidden):
                    await bus.journal.append(entry)
        finally:
            await bus.close()
        assert (await alice.get(operation_id)).state == "awaiting_approval"
        await alice.cancel(operation_id)


async def test_command_prompts_nobody_who_may_not_approve(installation: RunningInstallation) -> None:
    async with people(installation, "alice", "bob") as (alice, bob):
        operation_id = await submitted(alice)
        own = await installation.writ("approvals", "approve", operation_id, "--as", "alice", stdin=b"y\n")
        assert (own.status, "Approve" in own.err) == (3, False)
        assert own.err.startswith("writ: not approved: it waits for ")
        assert own.err.endswith(", which does not include alice\n")
        await approve(installation, bob, operation_id)
        late = await installation.writ("approvals", "approve", operation_id, "--as", "bob", stdin=b"y\n")
        assert (late.status, "Approve" in late.err) == (2, False)
        assert "so it waits for no approval" in late.err


async def test_approval_that_nobody_can_confirm_names_what_is_missing(installation: RunningInstallation) -> None:
    async with people(installation, "alice") as (alice,):
        operation_id = await submitted(alice)
        asked = await installation.writ("approvals", "approve", operation_id, "--as", "bob", stdin=b"")
        assert (asked.status, "no terminal" in asked.err, "--yes" in asked.err) == (2, True, True), asked
        assert (await alice.get(operation_id)).state == "awaiting_approval"
        await alice.cancel(operation_id)


async def test_card_without_a_preview_says_that_the_target_changed_after_the_request(
    installation: RunningInstallation,
) -> None:
    file = installation.home.root.parent / "files" / "changed"
    async with people(installation, "alice") as (alice,):
        operation_id = await submitted(alice)
        done = await alice.run("file_write", "web-1", {"file_path": str(file), "content": "x"}, timeout=20)
        assert done.outcome == "succeeded", done
        shown = await installation.writ("approvals", "show", operation_id, "--as", "bob")
        assert ("AFTER the request" in shown.out, "AFTER the preview" in shown.out) == (True, False), shown
        await alice.cancel(operation_id)


async def test_the_command_shows_rejects_and_refuses_another_digest(installation: RunningInstallation) -> None:
    async with people(installation, "alice") as (alice,):
        operation_id = await submitted(alice)
        shown = await installation.writ("approvals", "show", operation_id, "--as", "bob")
        assert shown.status == 0
        assert "alice requests test_noop on web-1" in shown.out
        assert "UNVERIFIED" not in shown.out
        other = await installation.writ(
            "approvals", "approve", operation_id, "--yes", "--digest", "0000-0000", "--as", "bob"
        )
        assert (other.status, "it is another request" in other.err) == (2, True)
        unknown = await installation.writ("approvals", "approve", operation_id, "--as", "bob", stdin=b"n\n")
        assert unknown.status == 4  # asked once more, and not confirmed
        rejected = await installation.writ("approvals", "reject", operation_id, "--reason", "no", "--as", "bob")
        assert (rejected.status, rejected.out.startswith("rejected: ")) == (0, True)
        assert (await alice.get(operation_id)).outcome == "rejected"
        assert "no request waits for you to decide" in (await installation.writ("approvals", "list", "--as", "bob")).out
        decided = await installation.writ("approvals", "show", operation_id[:8], "--as", "bob")
        assert (decided.status, decided.err) == (0, "")
        assert "alice requests test_noop on web-1" in decided.out
