"""The file of people's credentials: a forged one is a security event, an unreadable one a mistake, each told once."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY

from writ_contracts.notices import Notice
from writ_contracts.people.directory import PeopleDirectory
from writ_policy.state.credentials_file import CredentialsFile
from writ_runtime.files.people_directory import FILE, known_directory
from writ_trust.keys import Key
from writ_trust.statements import sign


class Credentials:
    """The file, its reader, and what it reports."""

    def __init__(self, folder: Path) -> None:
        self.path, self.state, self.notices = folder / "people.json", folder / "state", list[Notice]()
        self.state.mkdir()
        self.file = CredentialsFile(self.path, known_directory(self.state, PEOPLE_KEY.public, ""), self.notices.append)

    def write(self, number: int, by: Key = PEOPLE_KEY) -> None:
        made = PeopleDirectory(number=number, at=100.0 + number, posture="team", entries=[FIRST])
        draft = self.path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(sign(by, made)))
        draft.replace(self.path)  # another inode: its time and size may be those of the version before

    async def kinds(self) -> list[str]:
        """Read the file three times, as three decisions do; return the kinds of all notices."""
        for _ in range(3):
            await self.file.refresh()
        return [str(one.kind) for one in self.notices]


def forge(one: Credentials) -> None:
    one.write(2, by=OTHER)


def damage(one: Credentials) -> None:
    one.path.write_bytes(b'{"payload":')


def remove(one: Credentials) -> None:
    one.path.unlink()


def fill_the_disk(one: Credentials) -> None:
    (one.state / FILE).unlink()
    one.state.rmdir()
    one.write(2)


@pytest.mark.parametrize(
    ("change", "kind"),
    [(forge, "people_refused"), (damage, "file_refused"), (remove, "file_refused"), (fill_the_disk, "file_refused")],
)
async def test_problem_of_the_file_is_told_once_and_only_a_forgery_as_a_security_event(
    tmp_path: Path, change: Callable[[Credentials], None], kind: str
) -> None:
    one = Credentials(tmp_path)
    one.write(1)
    assert await one.kinds() == ["people_version"]
    change(one)
    assert await one.kinds() == ["people_version", kind]
    assert one.file.problem is not None


async def test_problem_that_returns_is_told_again(tmp_path: Path) -> None:
    one = Credentials(tmp_path)
    one.write(1)
    content = one.path.read_bytes()
    damage(one)
    await one.kinds()
    one.path.write_bytes(content)
    await one.kinds()
    damage(one)
    assert await one.kinds() == ["file_refused", "people_version", "file_refused"]
