"""An enrolment leaves one key on the agent's host, despite concurrent enrolments, and the files of its unit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from writ_bus.errors import Forbidden, TimedOut
from writ_bus.nats.tls import TlsOptions
from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Denied, WritError
from writ_enrolment import command, enrolment
from writ_enrolment.enrolment import EnrolledAgent, enrol
from writ_installation.files import tokens
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_trust import enrolment_tickets
from writ_trust.enrolment_tickets import Ticket
from writ_trust.keys import generate_seed

POOL = "local-far"


@pytest.fixture
def token(tmp_path: Path) -> str:
    """Return a token whose holder gets no further than to its own files."""
    home = Home(tmp_path / "home")
    create_installation(home)
    return tokens.make(home, POOL, "nats://127.0.0.1:4222", 1e12)[1]


async def test_second_of_two_concurrent_enrolments_uses_the_key_of_the_first(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = tmp_path / "etc", generate_seed()

    def meanwhile() -> bytes:
        """The first writes its key while the second makes one."""
        (folder / f"agent-{POOL}.seed").write_bytes(first)
        (folder / f"agent-{POOL}.seed").chmod(0o600)
        return generate_seed()

    monkeypatch.setattr(enrolment, "generate_seed", meanwhile)
    with pytest.raises(ConfigError, match=r"none\.pem"):
        await enrol(enrolment_tickets.read_ticket(token), folder, TlsOptions(ca=str(tmp_path / "none.pem")), {})
    assert read_private(folder / f"agent-{POOL}.seed") == first
    assert [path.name for path in folder.iterdir()] == [f"agent-{POOL}.seed"]


def test_the_agent_finds_the_files_of_tls_from_wherever_it_is_started(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[str, str] = {}

    async def enrolled(
        ticket: Ticket, folder: Path, tls: TlsOptions | None, environment: dict[str, str]
    ) -> EnrolledAgent:
        received.update(environment)
        return EnrolledAgent(pool=ticket.pool, key="", key_file="", environment_file="")

    (tmp_path / "token").write_text(token)
    monkeypatch.setattr(command, "enrol", enrolled)
    monkeypatch.chdir(tmp_path)
    assert command.run(["--token-file", "token"], {"WRIT_TLS_CA": "ca.pem"}) == 0
    assert received == {"WRIT_TLS_CA": str(tmp_path / "ca.pem")}


class CutOff:
    """A bus that connects, and gets no answer."""

    def __init__(self, error: WritError) -> None:
        self._error = error
        self.closed = False

    async def request(self, *_: object, timeout: float) -> None:
        raise self._error

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("cut", [Forbidden("authorization violation"), TimedOut("no answer")])
async def test_agent_cut_off_by_another_use_of_its_token_gets_this_reason(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: WritError
) -> None:
    bus = CutOff(cut)
    answers: Iterator[CutOff | WritError] = iter(
        [Forbidden("the key is new"), bus, Forbidden("the token is known no more")]
    )

    async def connect(*_: object) -> CutOff:
        answer = next(answers, None) or Forbidden("neither is the key")
        if isinstance(answer, WritError):
            raise answer
        return answer

    monkeypatch.setattr(enrolment, "_connect", connect)
    with pytest.raises(Denied, match="it was used, has expired or was revoked") as refused:
        await enrol(enrolment_tickets.read_ticket(token), tmp_path / "etc", None, {})
    assert not isinstance(refused.value, Forbidden)
    assert bus.closed
