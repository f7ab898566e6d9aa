"""The former people-key after its rotation: agents learn of the successor without any operation, and of no other."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import structs
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import holding
from tests.e2e.test_credentials import PEOPLE, RULES

from writ_bus.port import Bus, Message
from writ_contracts import subjects
from writ_contracts.agents import Heartbeat
from writ_contracts.people.directory import (
    NamedDirectory,
    PeopleDirectory,
    PeopleKeySuccession,
    PeopleNotice,
    PeopleNoticeMessage,
)
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.installations.security_keys import security_keys
from writ_testing.peers.programs import program
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("people")
    targets = [local_target("web-1", folder / "files", agent="a")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home, environ={"WRIT_HEARTBEAT": "0.5"}) as running:
        yield running


async def enrolled(installation: RunningInstallation, folder: Path) -> None:
    """Enrol bob as the first person of the installation."""
    program("ssh-keygen")
    async with security_keys(installation, folder) as made:
        request = await made.request("bob", "bob", "--proof", "verified")
        await made.done("credential", "enrol", str(request))


async def known(bus: Bus, number: int) -> None:
    """Wait until the agent reports this version. No operation is requested meanwhile."""
    heard: list[int | None] = []

    async def hear(message: Message) -> None:
        heard.append(decode(message.data, Heartbeat).people)

    subscription = await bus.subscribe(subjects.heartbeat("a"), hear)

    async def notice_arrived() -> bool:
        return number in heard

    await eventually(notice_arrived, within=40, what=f"an agent that knows version {number}")
    await subscription.close()


async def test_agents_learn_of_a_successor_without_an_operation_and_follow_no_other(
    installation: RunningInstallation, executor: Bus, tmp_path: Path
) -> None:
    home = installation.home
    await enrolled(installation, tmp_path)
    first = read(decode(home.people_file.read_bytes(), Signed), PeopleDirectory)
    await known(executor, first.number)
    former = Key(home.people_seed.read_bytes(), home.installation)
    assert (await installation.writ("keys", "rotate", "people")).status == 0
    second = read(decode(home.people_file.read_bytes(), Signed), PeopleDirectory)
    assert second.number > first.number
    await known(executor, second.number)

    thief = Key(generate_seed(), home.installation)
    link = sign(former, PeopleKeySuccession(next=thief.public, at=second.at))
    forged = sign(thief, structs.replace(first, number=second.number + 1, successions=[link]))
    named = PeopleNotice(directory=NamedDirectory(number=second.number + 1, digest=digest(forged)), at=second.at)
    async with holding(installation, "executor") as bus:
        for signer in ("executor", "policy"):
            notice = PeopleNoticeMessage(notice=sign(home.key(signer), named), directory=forged)
            await bus.publish(subjects.people_notice("a"), encode(notice))
            await alarm(executor, "forged_directory", text="not trusted" if signer == "executor" else "does not follow")
    await known(executor, second.number)
