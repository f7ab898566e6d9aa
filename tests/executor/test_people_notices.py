"""Executors send policy's notice and the directory of people's credentials to agents with an older one."""

from pathlib import Path

from msgspec import structs
from tests.policy.replica import Files, files, replica
from tests.trust.test_people import FIRST, PEOPLE_KEY, SECOND, version

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import Heartbeat
from writ_contracts.people.directory import KNOWN_HEADER, PeopleNotice, PeopleNoticeMessage, PeopleReply, PeopleRequest
from writ_contracts.wire import decode, encode
from writ_executor.agents.presence import AgentPresence
from writ_executor.policy.people_notices import PeopleNotices
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import open_signed

DIRECTORY = version(FIRST, SECOND)


def with_people(folder: Path) -> tuple[Files, dict[str, object]]:
    """Return policy's files with the directory, and its configuration of them."""
    file = folder / "people.json"
    file.write_bytes(encode(DIRECTORY.signed))
    return files(folder), {"people": file, "people_key": PEOPLE_KEY.public}


def beat(pool: str, people: int) -> Heartbeat:
    return Heartbeat(
        pool=pool, instance=f"{pool}-1", running=[], free_slots=1, operations=[], version="1", people=people
    )


async def test_an_agent_that_starts_after_a_rotation_of_policys_key_gets_a_notice_by_the_new_key(
    tmp_path: Path,
) -> None:
    """The executor knows the directory from before the rotation."""
    before, people = with_people(tmp_path)
    after = structs.replace(before, keys={**before.keys, "policy": Key(generate_seed())})
    former = {"former_keys": f"{before.keys['policy'].public}@1@1000"}
    broker, presence = Broker(), AgentPresence(lease=15.0, clock=lambda: 100.0)
    bus, agents = MemoryBus(broker), MemoryBus(broker)
    heard: dict[str, PeopleNoticeMessage] = {}

    async def hear(message: Message) -> None:
        heard[message.subject] = decode(message.data, PeopleNoticeMessage)

    for pool in ("a", "b"):
        await agents.subscribe(subjects.people_notice(pool), hear)
    notices = PeopleNotices(bus, presence)
    for pool, known, changed in (("a", before, {}), ("b", after, former)):
        presence.record(beat(pool, people=0))
        async with replica(MemoryBus(broker), bus, known, **people, **changed):
            await notices.send_due()
            subject = subjects.people_notice(pool)

            async def came(subject: str = subject) -> bool:
                return subject in heard

            await eventually(came, what=f"a notice for pool {pool}")
        body = heard[subject]
        assert body.directory == DIRECTORY.signed
        notice = open_signed(body.notice, PeopleNotice, [known.keys["policy"].public], "")
        assert notice.directory == DIRECTORY.name
        presence.record(beat(pool, people=DIRECTORY.name.number))


async def test_agents_with_a_newer_directory_than_policy_are_named(tmp_path: Path) -> None:
    """An earlier directory was restored: nothing else would tell, and the next version would be a second one."""
    known, people = with_people(tmp_path)
    number, broker, presence = DIRECTORY.name.number, Broker(), AgentPresence(lease=15.0, clock=lambda: 100.0)
    notices = PeopleNotices(MemoryBus(broker), presence)
    async with replica(MemoryBus(broker), MemoryBus(broker), known, **people):
        for pool, version_known in (("a", number + 1), ("b", number), ("c", 0)):
            presence.record(beat(pool, people=version_known))
        await notices.send_due()
        assert notices.ahead == [f"a-1 of pool a has version {number + 1}, policy {number}"]
        presence.record(beat("a", people=number))
        await notices.send_due()
        assert notices.ahead == []


async def test_agents_are_named_once_policy_has_lost_its_directory(tmp_path: Path) -> None:
    known, people = with_people(tmp_path)
    number, broker, presence = DIRECTORY.name.number, Broker(), AgentPresence(lease=15.0, clock=lambda: 100.0)
    bus, sent = MemoryBus(broker), list[str]()

    async def hear(message: Message) -> None:
        sent.append(message.subject)

    notices = PeopleNotices(bus, presence)
    presence.record(beat("a", people=number))
    async with replica(MemoryBus(broker), bus, known, **people):
        await notices.send_due()
        assert notices.ahead == []
    async with replica(MemoryBus(broker), bus, known):
        await bus.subscribe(subjects.people_notice("b"), hear)
        presence.record(beat("b", people=0))
        await notices.send_due()
        assert notices.ahead == [f"a-1 of pool a has version {number}, policy 0"]
    assert sent == []


async def test_policy_sends_a_known_directory_no_more_and_its_notice_each_time(tmp_path: Path) -> None:
    known, people = with_people(tmp_path)
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), known, **people) as asking:
        for digest, expected in (("0" * 64, DIRECTORY.signed), (DIRECTORY.name.digest, None)):
            message = await asking.bus.request(
                subjects.POLICY_PEOPLE,
                encode(PeopleRequest(number=0)),
                timeout=5,
                headers={KNOWN_HEADER: digest},
            )
            reply = decode(message.data, PeopleReply)
            assert reply.directory == expected
            assert reply.notice is not None
            notice = open_signed(reply.notice, PeopleNotice, [known.keys["policy"].public], "")
            assert notice.directory == DIRECTORY.name
