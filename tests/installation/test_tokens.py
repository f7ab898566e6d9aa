"""One-time tokens, and the provisioner's checks of them."""

import base64
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from writ_bus.port import EndpointReply, Message
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Conflict, Denied, Full, Invalid, Unreachable, Untrusted, WritError
from writ_contracts.installation.enrolment import Enrolment, EnrolmentReply, EnrolmentRequest
from writ_contracts.notices import Notice
from writ_contracts.wire import decode, encode
from writ_documents.readers import read_agents
from writ_installation.files import list_edits, tokens
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.tokens import EnrolmentToken
from writ_installation.nats.server import configuration
from writ_installation.provisioner.enrolments import Enrolments, finish
from writ_installation.server_access.server_address import ServerAddress
from writ_runtime.metrics import HandledMessage
from writ_testing.search import containing, files
from writ_trust import enrolment_tickets
from writ_trust.enrolment_tickets import Ticket
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

NOW, POOL, URL = 1_000_000.0, "local-web-1", "nats://writ.example.org:4222"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_installation(home)
    return home


class ProvisionerSide:
    """The provisioner's side at a time set by the test, with its recorded notices."""

    def __init__(self, home: Home) -> None:
        self.home, self.now = home, NOW
        self.notices: list[Notice] = []
        self.records = True
        self.meanwhile: Callable[[], None] = lambda: None
        self.handled: list[HandledMessage] = []
        self._enrolments = Enrolments(home, self.notices.append, self.record, self.handled.append, lambda: self.now)

    async def record(self, notice: Notice) -> None:
        if not self.records:
            raise Unreachable("no executor is there")
        self.notices.append(notice)
        self.meanwhile()

    async def ask(self, enrol: EnrolmentRequest | bytes, token: str) -> None:
        data = enrol if isinstance(enrol, bytes) else encode(enrol)
        await self._enrolments.enrol(Message(subject=subjects.enrol(token), data=data))

    async def reply(self, enrol: EnrolmentRequest, token: str) -> EnrolmentReply:
        """Return the reply on the wire."""
        endpoint = self._enrolments.service("1.0.0").endpoints[0]
        reply = await endpoint.handler(Message(subject=subjects.enrol(token), data=encode(enrol)))
        return decode(reply.data if isinstance(reply, EndpointReply) else reply, EnrolmentReply)

    def keys(self) -> list[str]:
        """Return the keys of the pool's agents."""
        return [one.key for one in read_agents(self.home.agents).agents if one.pool == POOL]


@pytest.fixture
def provisioner(home: Home) -> ProvisionerSide:
    return ProvisionerSide(home)


def made(home: Home) -> tuple[EnrolmentToken, Ticket]:
    token, text = tokens.make(home, POOL, URL, NOW + 60)
    return token, enrolment_tickets.read_ticket(text)


def signed(ticket: Ticket, key: Key, by_agent: Key | None = None, **changed: str) -> EnrolmentRequest:
    by_agent = Key((by_agent or key).seed, ticket.installation)
    enrolment = structs.replace(Enrolment(token=ticket.token, pool=ticket.pool, key=key.public), **changed)
    return EnrolmentRequest(by_token=sign(ticket.key, enrolment), by_agent=sign(by_agent, enrolment))


def a_key() -> Key:
    return Key(generate_seed())


def test_a_token_has_address_and_policys_key_and_its_private_half_is_stored_nowhere(home: Home) -> None:
    token, text = tokens.make(home, POOL, URL, NOW + 60)
    ticket = enrolment_tickets.read_ticket(f"\n {text}\n")
    assert (ticket.token, ticket.pool, ticket.url) == (token.id, POOL, URL)
    assert ticket.policy_key == home.key("policy").public
    assert ticket.key.public == token.key
    assert containing(files(home.root), ticket.seed) == []
    assert stat.S_IMODE((home.tokens / f"{token.id}.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [0, 5, 13, 40, -1])
def test_half_a_token_is_none_and_is_not_shown(home: Home, cut: int) -> None:
    _, text = tokens.make(home, POOL, URL, NOW + 60)
    with pytest.raises(Invalid) as caught:
        enrolment_tickets.read_ticket(text[:cut])
    assert text[20:40] not in str(caught.value)
    with pytest.raises(Invalid):
        enrolment_tickets.read_ticket(enrolment_tickets.HEAD + base64.urlsafe_b64encode(b'{"seed":"SUX"}').decode())


def test_nats_knows_a_token_until_its_key_is_enrolled_or_it_expires(home: Home) -> None:
    token, _ = tokens.make(home, POOL, URL, 1e12)
    address = ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222)
    key = a_key().public
    assert token.key in configuration(home, address)
    tokens.use(home, token, key)
    assert token.key in configuration(home, address)
    tokens.done(home, token, key)
    assert token.key not in configuration(home, address)
    expired, _ = tokens.make(home, POOL, URL, 1.0)
    assert expired.key not in configuration(home, address)


def test_a_file_that_is_no_token_is_passed_over(home: Home) -> None:
    token, _ = made(home)
    (home.tokens / "other.json").write_bytes((home.tokens / f"{token.id}.json").read_bytes())
    (home.tokens / "torn.json").write_text('{"id":')
    assert tokens.known(home) == [token]


def test_one_of_many_concurrent_uses_of_a_token_succeeds(home: Home) -> None:
    token, _ = made(home)

    def attempt(key: str) -> str | None:
        try:
            tokens.use(home, token, key)
        except Denied:
            return None
        return key

    with ThreadPoolExecutor(16) as pool:
        won = [key for key in pool.map(attempt, [a_key().public for _ in range(16)]) if key]
    assert won == [tokens.used_for(home, token.id)]
    assert [path.name for path in home.enrolled.iterdir()] == [token.id]


async def test_a_good_token_enrols_one_key_and_says_so(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    key = a_key()
    await provisioner.ask(signed(ticket, key), token.id)
    assert provisioner.keys() == [key.public]
    assert [(one.kind, one.pool, one.key, one.token) for one in provisioner.notices] == [
        ("agent_enrolled", POOL, key.public, token.id)
    ]


async def test_enrolment_needs_its_record_and_the_token_stays_valid_without(
    home: Home, provisioner: ProvisionerSide
) -> None:
    token, ticket = made(home)
    key, provisioner.records = a_key(), False
    with pytest.raises(Unreachable):
        await provisioner.ask(signed(ticket, key), token.id)
    assert (provisioner.keys(), tokens.good(home, NOW)) == ([], [token])
    provisioner.records = True
    await provisioner.ask(signed(ticket, key), token.id)
    assert provisioner.keys() == [key.public]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZeroDivisionError("by zero"), "internal"),
        (OSError("disk full"), "unavailable"),
        (ConfigError("bad"), "unavailable"),
    ],
)
async def test_enrolment_that_fails_gets_a_reply_and_is_counted_as_failed(
    home: Home, provisioner: ProvisionerSide, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    token, ticket = made(home)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(list_edits, "append", fails)
    reply = await provisioner.reply(signed(ticket, a_key()), token.id)
    assert reply.error is not None
    assert (reply.error.code, str(error) in reply.error.message) == (code, False)
    assert [(one.endpoint, one.outcome, one.code) for one in provisioner.handled] == [("enrol", "failed", code)]


async def test_enrolment_and_its_refusal_are_counted_as_in_every_service(
    home: Home, provisioner: ProvisionerSide
) -> None:
    (token, ticket), key = made(home), a_key()
    assert (await provisioner.reply(signed(ticket, key), token.id)).error is None
    refused = await provisioner.reply(signed(ticket, a_key()), token.id)
    assert refused.error is not None
    assert [(one.outcome, one.code) for one in provisioner.handled] == [("ok", ""), ("refused", "denied")]


async def test_the_key_of_a_sites_link_is_no_agents(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    link = a_key()
    entry = {"site": "north", "pool": POOL, "key": link.public}
    list_edits.write(home.leaves, "# Sites.\n", {"listen": "0.0.0.0", "port": 7422, "leaves": [entry]})
    with pytest.raises(Conflict, match="the link of site north"):
        await provisioner.ask(signed(ticket, link), token.id)


def test_a_token_whose_address_is_more_than_a_line_is_none(home: Home) -> None:
    _, text = tokens.make(home, POOL, f"{URL}\nLD_PRELOAD=/tmp/x.so", NOW + 60)
    with pytest.raises(Invalid, match="no valid server address"):
        enrolment_tickets.read_ticket(text)


async def test_repeated_use_of_a_token_needs_the_same_key(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    key = a_key()
    for _ in range(2):  # the answer to the first got lost
        await provisioner.ask(signed(ticket, key), token.id)
    with pytest.raises(Denied, match="used already"):
        await provisioner.ask(signed(ticket, a_key()), token.id)
    assert provisioner.keys() == [key.public]
    assert provisioner.notices[-1].kind == "enrolment_refused"


async def test_an_agent_that_was_taken_out_again_leaves_no_token_to_come_back_by(
    home: Home, provisioner: ProvisionerSide
) -> None:
    token, ticket = made(home)
    key = a_key()
    await provisioner.ask(signed(ticket, key), token.id)
    home.agents.write_text("agents: []\n")
    for again in (key, a_key()):
        with pytest.raises(Denied):
            await provisioner.ask(signed(ticket, again), token.id)
    assert provisioner.keys() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["use", "append", "done"])
async def test_token_enrols_one_key_whenever_the_provisioner_dies(
    home: Home, provisioner: ProvisionerSide, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    (token, ticket), key, other = made(home), a_key(), a_key()
    module = list_edits if name == "append" else tokens
    doing = getattr(module, name)

    def dies(*args: Any, **options: Any) -> None:
        if after:
            doing(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, dies)
    with pytest.raises(KeyboardInterrupt):
        await provisioner.ask(signed(ticket, key), token.id)
    monkeypatch.undo()
    finish(home)
    assert token in tokens.good(home, NOW) or provisioner.keys() == [key.public]  # NATS knows one of the two
    if (name, after) != ("use", False):
        with pytest.raises(Denied, match="used already"):
            await provisioner.ask(signed(ticket, other), token.id)
    await provisioner.ask(signed(ticket, key), token.id)
    with pytest.raises(Denied, match="used already"):
        await provisioner.ask(signed(ticket, other), token.id)
    assert (provisioner.keys(), tokens.good(home, NOW)) == ([key.public], [])


async def test_removed_agent_key_cannot_enrol_again_by_its_old_token(home: Home, provisioner: ProvisionerSide) -> None:
    (token, ticket), key = made(home), a_key()
    tokens.use(home, token, key.public)
    list_edits.append(home.agents, "agents", {"pool": POOL, "key": key.public}, unique="key")
    finish(home)  # who wrote the entry died then
    home.agents.write_text("agents: []\n")
    with pytest.raises(Denied, match="removed again"):
        await provisioner.ask(signed(ticket, key), token.id)
    assert (provisioner.keys(), tokens.good(home, NOW)) == ([], [])


async def test_token_revoked_during_its_record_enrols_nobody(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    provisioner.meanwhile = lambda: tokens.drop(home, [token])
    with pytest.raises(Denied, match="was revoked"):
        await provisioner.ask(signed(ticket, a_key()), token.id)
    assert (provisioner.keys(), tokens.used_for(home, token.id)) == ([], None)


async def test_expired_or_revoked_token_is_invalid(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    provisioner.now = token.until
    with pytest.raises(Denied, match="expired"):
        await provisioner.ask(signed(ticket, a_key()), token.id)
    provisioner.now = NOW
    tokens.drop(home, [token])
    with pytest.raises(Denied):
        await provisioner.ask(signed(ticket, a_key()), token.id)
    assert provisioner.keys() == []


async def test_token_enrols_one_new_key_of_its_own_pool_alone(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    other, other_ticket = made(home)
    key = a_key()
    refused: list[tuple[EnrolmentRequest, str, type[WritError]]] = [
        (signed(ticket, key, pool="local-db-1"), token.id, Untrusted),
        (signed(ticket, key, token=other.id), token.id, Untrusted),
        (signed(ticket, key), other.id, Untrusted),
        (signed(structs.replace(other_ticket, token=ticket.token), key), token.id, Untrusted),
        (signed(ticket, key, by_agent=a_key()), token.id, Untrusted),
        (signed(ticket, ticket.key), token.id, Conflict),
        (signed(ticket, home.key("principal-operator")), token.id, Conflict),
        (signed(ticket, home.key("executor")), token.id, Conflict),
    ]
    for enrol, at, error in refused:
        with pytest.raises(error):
            await provisioner.ask(enrol, at)
    swapped = EnrolmentRequest(by_token=signed(ticket, key).by_token, by_agent=signed(ticket, a_key()).by_agent)
    with pytest.raises(Untrusted):
        await provisioner.ask(swapped, token.id)
    with pytest.raises(Invalid):
        await provisioner.ask(b"{}", token.id)
    assert tokens.good(home, NOW) == tokens.known(home)
    assert [one.kind for one in provisioner.notices] == ["enrolment_refused"] * (len(refused) + 1)
    assert not any(ticket.seed in one.detail for one in provisioner.notices)


async def test_key_of_another_pool_is_not_enrolled(home: Home, provisioner: ProvisionerSide) -> None:
    key = home.key(f"agent-{read_agents(home.agents).agents[0].pool}")
    token, ticket = made(home)
    with pytest.raises(Conflict, match="create a new key"):
        await provisioner.ask(signed(ticket, key), token.id)


async def test_repeated_attempts_are_ignored(home: Home, provisioner: ProvisionerSide) -> None:
    token, ticket = made(home)
    refused: list[type[WritError]] = []
    for _ in range(60):
        with pytest.raises((Untrusted, Full)) as caught:
            await provisioner.ask(signed(ticket, a_key(), by_agent=a_key()), token.id)
        refused.append(caught.type)
    assert refused[0] is Untrusted
    assert refused[-1] is Full
