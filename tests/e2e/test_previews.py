"""Previews, end to end: the preview of a file's change for approvers, and a target that changes afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.bare_client import bare_client
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_client.people.approval_card import Card
from writ_contracts import subjects
from writ_contracts.errors import Denied, TimedOut
from writ_contracts.people.previews import PreviewQuery, PreviewReply
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PEOPLE: dict[str, dict[str, Any]] = {"alice": {"roles": ["operator"]}, "bob": {"roles": ["approver"]}}
RULES: list[dict[str, Any]] = [
    {
        "name": "writes",
        "operations": ["file_write", "file_copy"],
        "allowed": True,
        "requires_approval": True,
        "targets": ["web-1"],
    },
    {"name": "free", "operations": ["file_write"], "allowed": True, "targets": ["web-2"]},
    {
        "name": "short",
        "operations": ["file_write"],
        "allowed": True,
        "approval": {"timeout": "4s"},
        "targets": ["web-3"],
    },
    {"name": "stops", "operations": ["stop_set", "stop_lift"], "allowed": True},
    {"name": "reads", "operations": ["file_read"], "allowed": True},
    {"name": "unread", "operations": ["file_read"], "allowed": False, "targets": ["web-4"]},
    {"name": "blind_writes", "operations": ["file_write", "file_copy"], "allowed": True, "targets": ["web-4"]},
]
OLD, NEW = "listen 80;\nold-canary;\n", "listen 80;\nnew-canary;\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("previews")
    files = folder / "files"
    targets = [local_target(name, files) for name in ("web-1", "web-2", "web-3", "web-4")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def people(installation: RunningInstallation) -> AsyncIterator[tuple[Writ, Writ]]:
    async with AsyncExitStack() as stack:
        alice, bob = [await installation.client(name) for name in ("alice", "bob")]
        stack.push_async_callback(alice.close)
        stack.push_async_callback(bob.close)
        yield alice, bob


@pytest.fixture
def file(installation: RunningInstallation) -> Path:
    made = installation.home.root.parent / "files" / "site.conf"
    made.parent.mkdir(exist_ok=True)
    made.write_text(OLD)
    return made


async def submitted(alice: Writ, file: Path, content: str = NEW) -> str:
    answer = await alice.submit("file_write", "web-1", {"file_path": str(file), "content": content})
    assert answer.state == "awaiting_approval", answer
    return answer.operation_id or ""


async def card_of(installation: RunningInstallation, bob: Writ, operation_id: str) -> Card:
    """Return the card once it has the agent's preview: the first request may come before the agent does."""

    async def previewed() -> Card | None:
        card = await bob.approvals.card(operation_id, [installation.home.key("policy").public])
        return card if card.preview is not None else None

    return await eventually(previewed, what="a card with a preview")


async def test_an_approver_sees_the_diff_and_the_journal_does_not(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    alice, bob = people
    operation_id = await submitted(alice, file)
    card = await card_of(installation, bob, operation_id)
    assert (card.unverified, card.refusals) == ([], [])
    assert card.preview is not None
    assert "-old-canary;" in card.preview.diff
    assert "+new-canary;" in card.preview.diff
    assert card.preview.body.shown["would"] == "replace"
    own_card = await alice.approvals.card(operation_id, [installation.home.key("policy").public])
    assert own_card.preview is not None
    assert own_card.preview.diff == card.preview.diff  # the requester sees what they see
    shown = await installation.writ("approvals", "show", operation_id, "--as", "bob")
    assert "    -old-canary;" in shown.out.splitlines()
    assert "last change" in shown.out
    assert (await bob.approvals.approve(card)).state == "approved"
    assert (await alice.wait(operation_id, timeout=20)).outcome == "succeeded"
    assert file.read_text() == NEW
    ended = await installation.writ("approvals", "show", operation_id, "--as", "bob")
    assert ("; this operation itself" in ended.out, "AFTER the preview" in ended.out) == (True, False), ended
    trace = encode(await alice.trace(operation_id=operation_id)).decode()
    assert "preview_taken" in trace
    assert "canary" not in trace
    after = await card_of(installation, bob, await submitted(alice, file, OLD))
    assert after.facts is not None
    assert after.facts.last_change is not None
    assert (after.facts.last_change.operation_id, after.facts.last_change.principal) == (operation_id, "alice")


async def test_a_preview_that_the_agent_refuses_is_among_the_reasons_to_wait(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    """An approver may not approve without a preview, and waits in vain for this one."""
    alice, bob = people
    absent, dest = str(file.with_name("absent")), str(file.with_name("copy"))
    answer = await alice.submit("file_copy", "web-1", {"source_path": absent, "dest_path": dest})
    operation_id = answer.operation_id or ""

    async def reason() -> bool:
        shown = await installation.writ("op", "show", operation_id, "--as", "alice")
        return "there is no preview yet; the latest try of this executor failed: not_found" in shown.out

    await eventually(reason, what="the reason")
    card = await bob.approvals.card(operation_id, [installation.home.key("policy").public])
    assert "there is no preview by the target's agent yet" in card.refusals
    await alice.cancel(operation_id, reason="absent")


async def test_a_file_that_changed_after_the_preview_makes_it_stale(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    alice, bob = people
    operation_id = await submitted(alice, file)
    card = await card_of(installation, bob, operation_id)
    file.write_text("somebody else's\n")
    assert (await bob.approvals.approve(card)).state == "approved"
    ended = await alice.wait(operation_id, timeout=20)
    assert (ended.outcome, ended.code) == ("stale", "stale"), ended
    assert "changed since the preview" in ended.message
    assert file.read_text() == "somebody else's\n"


async def test_a_copy_whose_source_changed_after_the_preview_is_stale(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    """The approval covers the content at the time of the preview."""
    alice, bob = people
    copy = file.with_name("copied.conf")
    parameters = {"source_path": str(file), "dest_path": str(copy)}
    for content, outcome in (("somebody else's", "stale"), (None, "succeeded")):
        answer = await alice.submit("file_copy", "web-1", parameters)
        assert answer.state == "awaiting_approval", answer
        card = await card_of(installation, bob, answer.operation_id or "")
        assert card.preview is not None
        assert f"+{file.read_text().splitlines()[0]}" in card.preview.diff
        if content is not None:
            file.write_text(content)
        assert (await bob.approvals.approve(card)).state == "approved"
        ended = await alice.wait(answer.operation_id or "", timeout=20)
        assert ended.outcome == outcome, ended
        if outcome == "stale":
            assert "source_version" in ended.message
            assert not copy.exists()
    assert copy.read_text() == "somebody else's"


async def test_a_preview_that_shows_too_little_permits_a_rejection_only(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    alice, bob = people
    operation_id = await submitted(alice, file, "long\n" * 40_000)
    card = await card_of(installation, bob, operation_id)
    with pytest.raises(Denied, match="incomplete"):
        await bob.approvals.approve(card)
    assert (await bob.approvals.reject(card)).state == "rejected"


async def test_a_run_shows_its_diff(installation: RunningInstallation, file: Path) -> None:
    run = ("file_write", f"file_path={file}", f"content={NEW}", "-t", "web-2", "--as", "alice")
    previewed = await installation.writ("run", *run, "--preview")
    assert (previewed.status, file.read_text()) == (0, OLD)
    assert "    +new-canary;" in previewed.out.splitlines()
    done = await installation.writ("run", *run, "--diff")
    assert (done.status, file.read_text()) == (0, NEW)
    assert "    -old-canary;" in done.out.splitlines()
    same = await installation.writ("run", *run, "--diff")
    assert (same.status, same.out.splitlines()[-1]) == (0, "    the content stays the same")


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


async def test_the_record_has_no_bare_digest_of_a_content_and_shows_equal_ones(
    people: tuple[Writ, Writ], file: Path
) -> None:
    alice, _ = people
    ended = []
    for content in ("4711", "1234", "4711"):
        parameters = {"file_path": str(file), "content": content}
        preview = await alice.submit("file_write", "web-2", parameters, dry_run=True)
        await alice.wait(preview.operation_id or "", timeout=20)
        ended += [preview.operation_id or "", (await alice.run("file_write", "web-2", parameters)).operation_id]
    read = await alice.with_output(await alice.run("file_read", "web-2", {"file_path": str(file)}))
    assert read.output["digest"] == digest_of("4711")  # its reader may know it, and needs it for `if_digest`
    assert read.output["content"] == "4711"
    traces = [await alice.trace(operation_id=one) for one in (*ended, read.operation_id)]
    record = b"".join(map(encode, traces)).decode()
    assert not [text for text in ("4711", "1234", OLD) if digest_of(text) in record]
    known = [event.body["output"] for one in traces for event in one.events if event.kind == "finished"]
    written = [output for output in known if output.get("changed")]
    assert written[0]["digest_after"] == written[2]["digest_after"] == written[1]["digest_before"]
    assert written[0]["digest_after"] != written[1]["digest_after"]


@pytest.mark.parametrize("operation", ["file_write", "file_copy"])
async def test_dry_run_reveals_nothing_of_a_file_that_its_requester_may_not_read(
    people: tuple[Writ, Writ], file: Path, operation: str
) -> None:
    alice, _ = people
    ends = {"source_path": str(file), "dest_path": f"{file}.copy"}
    parameters = {"file_path": str(file), "content": "x"} if operation == "file_write" else ends
    answer = await alice.submit(operation, "web-4", parameters, dry_run=True)
    view = await alice.with_output(await alice.wait(answer.operation_id or "", timeout=20))
    assert view.outcome == "previewed", view
    assert view.output["would"] == ("replace" if operation == "file_write" else "create")
    assert view.output.keys().isdisjoint({"digest_before", "size_before"})
    record = encode(await alice.trace(operation_id=view.operation_id)).decode() + encode(view).decode()
    assert digest_of(OLD) not in record
    assert "canary" not in record
    assert f'"size_before":{len(OLD)}' not in record
    assert f'"size_after":{len(OLD)}' not in record


async def test_the_details_of_a_preview_are_for_the_reader_that_policy_names(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    alice, bob = people
    card = await card_of(installation, bob, await submitted(alice, file))
    assert card.signed_facts is not None
    for who, code in ((alice, "not_approver"), (bob, None)):
        query = encode(PreviewQuery(facts=card.signed_facts))
        reply = await who._bus.request(subjects.query(who.principal, "preview"), query, timeout=20)
        answer = decode(reply.data, PreviewReply)
        assert (answer.error.code if answer.error else None) == code


async def test_details_of_another_operation_copied_in_the_store_are_not_shown(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    """By somebody who can write to the store and does not have its key, such as root on NATS' host."""
    alice, bob = people
    cards = [await card_of(installation, bob, await submitted(alice, file)) for _ in range(2)]
    places = [f"{card.facts.operation_id}.{card.facts.preview}" for card in cards if card.facts is not None]
    async with holding(installation, "executor") as thief:
        copied = await thief.params.get(places[0])
        assert copied is not None
        await thief.params.put(places[1], copied, ttl=60.0)
    for card, code in zip(cards, (None, "bad_signature"), strict=True):
        assert card.signed_facts is not None
        query = encode(PreviewQuery(facts=card.signed_facts))
        answer = decode(
            (await bob._bus.request(subjects.query("bob", "preview"), query, timeout=20)).data, PreviewReply
        )
        assert (answer.error.code if answer.error else None) == code


async def test_time_to_decide_stands_still_during_a_stop(people: tuple[Writ, Writ], file: Path) -> None:
    alice, bob = people
    answer = await alice.submit("file_write", "web-3", {"file_path": str(file), "content": NEW})
    operation_id = answer.operation_id or ""
    stop = await alice.stop_set(["web-3"], reason="a freeze")
    with pytest.raises(TimedOut):
        await alice.wait(operation_id, timeout=6)  # longer than the time to decide
    assert [one.operation_id for one in (await bob.approvals.pending()).pending if one.target == "web-3"] == [
        operation_id
    ]
    await alice.run("stop_lift", "writ", {"stop_id": stop.output["id"]}, timeout=20)
    ended = await alice.wait(operation_id, timeout=20)
    assert (ended.outcome, ended.code) == ("expired", "not_approved")


async def test_documented_bare_client_ends_with_a_rejection(
    installation: RunningInstallation, people: tuple[Writ, Writ], file: Path
) -> None:
    alice, bob = people
    words = ("file_write", "web-1", f"file_path={file}", "content=x")
    earlier = {one.operation_id for one in await alice.open_operations()}
    waiting = asyncio.create_task(bare_client(installation, "alice", *words))

    async def asked() -> set[str]:
        return {one.operation_id for one in await alice.open_operations()} - earlier

    (operation_id,) = await eventually(asked, what="the request of the client")
    await bob.approvals.reject(await card_of(installation, bob, operation_id), reason="not today")
    status, out, err = await waiting
    assert (status, "\nrejected\n" in out) == (0, True), (out, err)
