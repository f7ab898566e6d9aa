"""Archives of the journal, checked with policy's public key: every manipulation shows."""

import hashlib
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import json, structs
from tests.contracts.messages import sample
from tests.proof.archives import MALLORY, OPERATIONS, POLICY, append, events_of, id_of, journal_of, make, seal

from writ_contracts import journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.history.records import Record
from writ_contracts.ids import operation_id
from writ_contracts.wire import encode
from writ_installation.archives.backup import draft_of
from writ_installation.files.home import Home
from writ_proof.archive import check, read, write
from writ_proof.archive.format import SEAL, ArchiveManifest, Segment, decode_line, digest_of
from writ_proof.bundles import MANIFEST, BundleWriter, DamagedBundle
from writ_testing.fakes.bundles import rewritten
from writ_trust.statements import sign


@pytest.fixture
async def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of eight operations in segments of seven events."""
    monkeypatch.setattr(write, "SEGMENT_EVENTS", 7)
    plan = write.ArchivePlan(generation=1, first=1, last=3 * OPERATIONS, previous="")
    await make(tmp_path / "whole.writ", await journal_of(OPERATIONS), plan)
    return tmp_path / "whole.writ"


def verify(path: Path) -> check.VerifiedArchive:
    return check.verify(path, [POLICY.public])


def test_whole_archive_is_valid_and_described_by_its_manifest(whole: Path) -> None:
    verified = verify(whole)
    assert (verified.first, verified.last, verified.events) == (1, 24, 24)
    assert (verified.by, verified.problems) == ("alice", [])
    assert verified.signatures == 6 * OPERATIONS
    assert whole.stat().st_mode & 0o777 == 0o600
    assert not list(whole.parent.glob("*.partial"))


def test_archive_has_an_operation_with_all_its_events(whole: Path) -> None:
    trace = read.trace(whole, id_of(3), [POLICY.public])
    assert [event.kind for event in trace.events] == ["requested", "granted", "finished"]
    assert [event.sequence for event in trace.events] == [10, 11, 12]
    assert read.trace(whole, operation_id("alice", "another"), ()).events == []


def test_archive_finds_an_operation_by_the_beginning_of_its_id(whole: Path) -> None:
    found = read.trace(whole, id_of(3)[:4], [POLICY.public])
    assert found.events == read.trace(whole, id_of(3), [POLICY.public]).events != []
    assert read.trace(whole, "7" * 12, [POLICY.public]).events == []


def test_beginning_of_several_ids_in_an_archive_is_refused_with_all_of_them() -> None:
    ids = ["abc" + "a" * 23, "abd" + "a" * 23]
    found = [Record(at, "s", json.encode({"operation_id": one}), {}, 1.0) for at, one in enumerate(ids)]
    with pytest.raises(Invalid, match=f"several ids begin with 'ab': {ids[0]}, {ids[1]}$"):
        read.whole_id(found, "ab")
    assert read.whole_id(found, "abd") == ids[1]
    assert read.whole_id([*found, Record(3, "s", b'{"correlation_id":"ab"}', {}, 1.0)], "ab") == "ab"


def segments(members: dict[str, bytes]) -> list[str]:
    return sorted(name for name in members if name.endswith(".jsonl"))


def refitted(members: dict[str, bytes], name: str, lines: list[bytes]) -> None:
    """Replace the content of a segment, and make the manifest match."""
    manifest = json.decode(members[MANIFEST], type=ArchiveManifest)
    members[name] = b"".join(line + b"\n" for line in lines)
    sequences = [decode_line(line).sequence for line in lines]
    fits = Segment(
        name=name,
        first=sequences[0],
        last=sequences[-1],
        events=len(lines),
        bytes=len(members[name]),
        sha256=hashlib.sha256(members[name]).hexdigest(),
    )
    known = [fits if segment.name == name else segment for segment in manifest.segments]
    last = known[-1].last
    members[MANIFEST] = structs.replace(manifest, segments=known, last=last, events=last).encoded()


def change_an_event(members: dict[str, bytes]) -> None:
    name = segments(members)[1]
    members[name] = members[name].replace(b"alice", b"mally", 1)


def change_an_event_and_the_manifest(members: dict[str, bytes]) -> None:
    name = segments(members)[1]
    lines = members[name].splitlines()
    lines[2] = lines[2].replace(b"text", b"lies", 1)
    refitted(members, name, lines)


def remove_an_event(members: dict[str, bytes]) -> None:
    name = segments(members)[0]
    members[name] = b"\n".join(members[name].splitlines()[1:]) + b"\n"


def cut_the_end_off(members: dict[str, bytes]) -> None:
    name = segments(members)[-1]
    refitted(members, name, members[name].splitlines()[:-1])


def swap_two_events(members: dict[str, bytes]) -> None:
    name = segments(members)[0]
    first, second, *others = members[name].splitlines()
    refitted(members, name, [second, first, *others])


def swap_two_segments(members: dict[str, bytes]) -> None:
    one, two, *_ = segments(members)
    members[one], members[two] = members[two], members[one]


def drop_a_segment(members: dict[str, bytes]) -> None:
    del members[segments(members)[1]]


def add_a_member(members: dict[str, bytes]) -> None:
    members["events-999.jsonl"] = b""


def change_the_manifest(members: dict[str, bytes]) -> None:
    manifest = json.decode(members[MANIFEST], type=ArchiveManifest)
    members[MANIFEST] = structs.replace(manifest, previous="0" * 64).encoded()


def seal_it_oneself(members: dict[str, bytes]) -> None:
    event = json.decode(members[SEAL], type=journal.ControlEvent)
    assert event.decision is not None
    members[SEAL] = encode(structs.replace(event, decision=sign(MALLORY, sample(Decision))))


def seal_what_was_denied(members: dict[str, bytes]) -> None:
    members[SEAL] = seal(json.decode(members[MANIFEST], type=ArchiveManifest), effect="deny")


def seal_what_only_the_server_vouched_for(members: dict[str, bytes]) -> None:
    members[SEAL] = seal(json.decode(members[MANIFEST], type=ArchiveManifest), authenticated="server")


def seal_other_parameters(members: dict[str, bytes]) -> None:
    members[SEAL] = seal(json.decode(members[MANIFEST], type=ArchiveManifest), parameters_digest="0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        *(change_an_event, change_an_event_and_the_manifest, remove_an_event, cut_the_end_off, swap_two_events),
        *(swap_two_segments, drop_a_segment, add_a_member, change_the_manifest, seal_it_oneself, seal_what_was_denied),
        *(seal_what_only_the_server_vouched_for, seal_other_parameters),
    ],
    ids=lambda change: change.__name__,
)
def test_manipulation_of_an_archive_shows(whole: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    changed = rewritten(whole, change)
    with pytest.raises(DamagedBundle):
        verify(changed)
    with pytest.raises(DamagedBundle):  # also where only one operation is shown
        read.trace(changed, id_of(3), [POLICY.public])
    assert verify(rewritten(whole, lambda _: None)).events == 24


def test_an_archive_with_a_damaged_offset_is_damaged_and_not_unreachable(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = (int.from_bytes(data[end + 16 : end + 20], "little") + (1 << 30)).to_bytes(4, "little")
    copy = whole.with_name("shifted.writ")
    copy.write_bytes(data)
    with pytest.raises(DamagedBundle):
        verify(copy)


def test_a_file_that_was_cut_or_whose_bits_flipped_is_no_archive_or_still_the_same(whole: Path) -> None:
    data, chance = whole.read_bytes(), random.Random(7)
    expected = structs.replace(verify(whole), file="")
    damaged = 0
    for _ in range(150):
        at = chance.randrange(len(data))
        copy = whole.with_name("flipped.writ")
        copy.write_bytes(data[:at] if chance.random() < 0.2 else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert structs.replace(verify(copy), file="") == expected  # a time stamp of zip's own, say
        except DamagedBundle:
            damaged += 1
    assert damaged > 100


async def test_invalid_signature_is_reported_with_its_event(tmp_path: Path) -> None:
    bus = await journal_of(2)
    requested, started, finished = events_of(2)
    forged = structs.replace(requested, decision=sign(MALLORY, json.decode(requested.decision.payload, type=Decision)))
    for expected, event in ((0, forged), (7, started), (8, finished)):
        await append(bus, 2, event, expected)
    plan = write.ArchivePlan(generation=1, first=1, last=9, previous="")
    with BundleWriter(tmp_path / "one.writ") as writer:
        made = await write.write(bus.journal, writer, plan, [POLICY.public])
        assert [problem.sequence for problem in made.checked.problems] == [7]
        assert made.manifest.damaged == [7]
        writer.put(SEAL, seal(made.manifest))
        writer.publish()
    assert [problem.sequence for problem in verify(tmp_path / "one.writ").problems] == [7]


async def test_archives_follow_each_other(tmp_path: Path) -> None:
    bus = await journal_of(6)
    first = await make(tmp_path / "1", bus, write.ArchivePlan(generation=1, first=1, last=9, previous=""))
    name = digest_of(first.encoded())
    await make(tmp_path / "2", bus, write.ArchivePlan(generation=2, first=10, last=15, previous=name))
    await make(tmp_path / "3", bus, write.ArchivePlan(generation=3, first=16, last=18, previous="0" * 64))
    archives = [verify(tmp_path / number) for number in "123"]
    check.follow(archives[:2])
    for wrong in (archives, archives[1::-1], [archives[0], archives[2]]):
        with pytest.raises(DamagedBundle, match="does not follow"):
            check.follow(wrong)


async def test_events_between_two_archives_that_the_journal_had_lost_are_named(tmp_path: Path) -> None:
    bus = await journal_of(6)
    first = await make(tmp_path / "1", bus, write.ArchivePlan(generation=1, first=1, last=9, previous=""))
    name = digest_of(first.encoded())
    await make(tmp_path / "2", bus, write.ArchivePlan(generation=2, first=13, last=15, previous=name))
    with pytest.raises(DamagedBundle, match="events 10 to 12 are in no archive"):
        check.follow([verify(tmp_path / number) for number in "12"])


async def test_the_same_range_makes_the_same_manifest_and_a_range_with_a_hole_none(tmp_path: Path) -> None:
    bus = await journal_of(3)
    plan = write.ArchivePlan(generation=1, first=1, last=9, previous="")
    made = [await make(tmp_path / name, bus, plan) for name in "ab"]
    assert made[0].encoded() == made[1].encoded()
    with BundleWriter(tmp_path / "c") as writer, pytest.raises(Conflict):
        await write.write(bus.journal, writer, structs.replace(plan, last=10), [POLICY.public])


def test_bundle_writer_overwrites_a_partial_file_and_no_complete_one(whole: Path) -> None:
    with pytest.raises(Conflict, match="exists already"), BundleWriter(whole):
        pass
    other = whole.with_name("other.writ")
    shutil.copyfile(whole, whole.with_name("other.writ.partial"))
    with BundleWriter(other) as writer:
        writer.put("a", b"1")
        writer.publish()
    with zipfile.ZipFile(other) as bundle:
        assert bundle.namelist() == ["a"]


def test_file_opened_by_another_user_is_never_written(tmp_path: Path) -> None:
    path, left = tmp_path / "one.writ", tmp_path / "one.writ.partial"
    with left.open("w+b") as others, BundleWriter(path) as writer:
        writer.put("a", b"secret")
        writer.publish()
        assert others.read() == b""
    assert not left.exists()
    with BundleWriter(tmp_path / "two.writ") as writer:
        changed = tmp_path / "two.writ.partial"
        changed.unlink()
        changed.write_bytes(b"another")
        with pytest.raises(Conflict, match="differs from the written bytes"):
            writer.publish()
    assert (changed.read_bytes(), (tmp_path / "two.writ").exists()) == (b"another", False)


def test_a_home_is_never_restored_into_a_folder_of_somebody_else(tmp_path: Path) -> None:
    home, elsewhere = Home(tmp_path / "home"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    draft = tmp_path / ".home.restoring"
    draft.symlink_to(elsewhere)
    with pytest.raises(Conflict, match="it belongs to another user"):
        draft_of(home)
    draft.unlink()
    draft.mkdir(mode=0o777)
    (draft / "left").touch()
    assert list(draft_of(home).iterdir()) == []
    assert draft.stat().st_mode & 0o777 == 0o700
