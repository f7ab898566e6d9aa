"""The key of `writ login` is deleted only once its session is over."""

import time
from pathlib import Path

import pytest
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_bus.errors import Forbidden
from writ_cli.context.session_files import SessionFile, SessionFiles
from writ_client.context import Context
from writ_client.operations.sessions import Sessions
from writ_contracts.requests import RequestReply, Verdict
from writ_testing.peers.nats_server import WritServer
from writ_trust.keys import generate_seed

NUMBER = "a" * 26
ELSEWHERE = "nats://203.0.113.7:4222"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def keep(folder: Path, url: str, seed: bytes, installation: str = "") -> None:
    file = SessionFile(
        session=NUMBER,
        principal="alice",
        installation=installation,
        seed=seed.decode(),
        until=time.time() + 600,
        url=url,
    )
    SessionFiles(folder).save(Context(principal="alice", url=url, installation=installation), file)


@pytest.mark.parametrize(
    ("state", "outcome", "why"),
    [("denied", "denied", "denied: a rule"), ("awaiting_approval", None, "awaiting approval: a rule")],
)
async def test_key_stays_while_its_session_goes_on(
    command: Command,
    served: ScriptedApi,
    server: WritServer,
    folder: Path,
    state: str,
    outcome: str | None,
    why: str,
) -> None:
    keep(folder, server.url, server.keys["alice"].seed)
    verdict = Verdict(decision="deny", rules=["no"], reason="a rule", code="denied_by_rule")
    served.script.append(RequestReply(operation_id=NUMBER, state=state, outcome=outcome, verdict=verdict))
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    assert (done.exit_code, done.stderr) == (3, f"writ: session {NUMBER} goes on: {why}\n"), done.output
    assert len(list(folder.iterdir())) == 1
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    assert (done.exit_code, list(folder.iterdir())) == (0, []), done.output


async def test_key_stays_where_the_request_is_not_permitted(
    command: Command, server: WritServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> RequestReply:
        raise Forbidden("the server does not permit alice to publish")

    monkeypatch.setattr(Sessions, "submit_end", refused)
    keep(folder, server.url, server.keys["alice"].seed)
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    assert (done.exit_code, "does not permit alice" in done.stderr, len(list(folder.iterdir()))) == (6, True, 1), done


async def test_logout_says_which_server_does_not_know_the_key(
    command: Command, server: WritServer, folder: Path
) -> None:
    keep(folder, server.url, generate_seed())
    refused = await command("op", "list", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    assert f"returns to your own key ({server.url} does not know" in refused.stderr, refused.output
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    text = f"session {NUMBER} is forgotten: NATS at {server.url} does not know its key\n"
    assert (done.exit_code, done.stdout, list(folder.iterdir())) == (0, text, []), done.output


async def test_logout_at_another_server_keeps_the_session_of_the_first(
    command: Command, server: WritServer, folder: Path
) -> None:
    """Neither server's installation has a name here."""
    keep(folder, ELSEWHERE, generate_seed())
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder))
    assert (done.exit_code, done.stdout) == (0, "alice has no session here\n"), done.output
    assert len(list(folder.iterdir())) == 1


async def test_logout_keeps_a_key_where_another_server_does_not_know_it(
    command: Command, server: WritServer, folder: Path
) -> None:
    keep(folder, ELSEWHERE, generate_seed(), "a" * 16)
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder), WRIT_INSTALLATION="a" * 16)
    path = next(folder.iterdir())
    text = f"which was opened at {ELSEWHERE}: log out there, or delete {path} if it has ended\n"
    assert (done.exit_code, done.stderr.endswith(text)) == (6, True), done.output


@pytest.mark.parametrize("spelt", ["{}/", "nats://203.0.113.7:4222,{}", " {}"])
async def test_logout_at_the_same_server_by_another_spelling_of_its_address(
    command: Command, server: WritServer, folder: Path, spelt: str
) -> None:
    keep(folder, spelt.format(server.url), generate_seed(), "a" * 16)
    done = await command("logout", WRIT_KEY_FILE="", WRIT_SESSIONS=str(folder), WRIT_INSTALLATION="a" * 16)
    assert (done.exit_code, list(folder.iterdir())) == (0, []), done.output


def test_one_list_of_servers_has_one_session_however_it_is_written(folder: Path) -> None:
    keep(folder, "nats://a:4222,tls://B", generate_seed())
    for url in ("nats://a:4222,tls://b:4222", "tls://b:4222/,a", "nats://A/, tls://b"):
        assert SessionFiles(folder).find(Context(principal="alice", url=url, installation="")), url
    for url in ("nats://a:4222", "nats://a:4223,tls://b", "nats://b,tls://a", "nats://a:none,tls://b"):
        assert SessionFiles(folder).find(Context(principal="alice", url=url, installation="")) is None, url


def test_a_session_of_an_earlier_release_is_used_and_its_key_is_deleted(folder: Path) -> None:
    """It had one file for all installations without an id."""
    context, files = Context(principal="alice", url=ELSEWHERE, installation=""), SessionFiles(folder)
    keep(folder, ELSEWHERE, generate_seed())
    own = next(folder.iterdir())
    earlier = own.rename(folder / "unnamed-alice.json")
    found = files.find(context)
    assert found is not None
    files.save(context, found)
    files.forget(context)
    assert [*folder.iterdir()] == [earlier], "it may be of another server"
    files.forget(context)
    assert [*folder.iterdir()] == []
