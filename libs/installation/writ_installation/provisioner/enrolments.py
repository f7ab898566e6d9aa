"""Enrolment of agents: a host with a valid one-time token names the key of its agent, which becomes an entry of
agents.yaml.

Enrolments run one after the other, and each step may be repeated. The enrolment is recorded before the token is used up
for this key, and the token is used up before the entry is written. So a crash in between leaves a token that is valid
for the same key only. Once the entry is there the token is done.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Denied, Full, Untrusted
from writ_contracts.installation.enrolment import Enrolment, EnrolmentReply, EnrolmentRequest
from writ_contracts.notices import Notice
from writ_contracts.registry import Role, channel
from writ_contracts.wire import decode
from writ_documents.atomic_files import sync_folder
from writ_documents.readers import read_agents, read_principals
from writ_installation.files import list_edits, tokens
from writ_installation.files.create import SERVICES
from writ_installation.files.home import Home
from writ_installation.files.tokens import EnrolmentToken
from writ_installation.nats.leaf_sites import read_leaves
from writ_installation.provisioner.reply_frame import provisioner_handler
from writ_runtime.buckets import Buckets
from writ_runtime.endpoint_frame import Observe
from writ_runtime.logs import Log
from writ_trust.keys import decode_public
from writ_trust.statements import open_signed

LARGEST = 8192
RATE, BURST = 1.0, 20.0
"""Attempts with one token that are checked, each second and at once."""
_log = Log("writ.keeper")


def finish(home: Home) -> None:
    """Mark each token as done whose key has its entry, also where a crash or a full disk prevented that: otherwise the
    key could return by it when its entry is removed. Raises ConfigError.
    """
    entries = {(one.pool, one.key) for one in read_agents(home.agents).agents}
    for token in tokens.known(home):
        key = tokens.used_for(home, token.id)
        if key is not None and (token.pool, key) in entries and not tokens.is_done(home, token.id):
            _done(home, token, key)


def _done(home: Home, token: EnrolmentToken, key: str) -> None:
    sync_folder(home.agents.parent)  # with a power cut the entry may go, but not after this is known
    tokens.done(home, token, key)


class Enrolments:
    """Enrol agents for requests to `writ.enrol.<token>`.

    `notify` has an event recorded later, `record` before it returns; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        home: Home,
        notify: Callable[[Notice], None],
        record: Callable[[Notice], Awaitable[None]],
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._notify = notify
        self._record = record
        self._observe = observe
        self._clock = clock
        self._buckets = Buckets(RATE, BURST)

    def service(self, version: str, *others: Endpoint) -> Service:
        """Return the service for the bus, with the provisioner's other endpoints."""
        request = channel("enrol")
        respond = provisioner_handler(request.name, self._handle, EnrolmentReply, self._observe)
        endpoint = Endpoint(name=request.name, subject=request.subject(), handler=respond, concurrency=1)
        description = "Enrols agents that have a one-time token, and applies changes of principals."
        return Service(name=Role.KEEPER.value, version=version, description=description, endpoints=[endpoint, *others])

    async def _handle(self, message: Message) -> EnrolmentReply:
        await self.enrol(message)
        return EnrolmentReply()

    async def enrol(self, message: Message) -> None:
        """Enrol the key the message names. Raises Denied, Untrusted, Invalid, Conflict, Full, and the errors of
        recording: nothing is enrolled then, and the token is unchanged.
        """
        number = subjects.parse_enrol(message.subject)
        if not self._buckets.take(number, time.monotonic()):
            raise Full("too many attempts with this token: wait", code="rate_limited")
        try:
            token, enrolment = self._checked(number, message.data)
            if tokens.is_done(self._home, token.id):
                return
            await self._on_record(token, enrolment.key)
            self._checked(number, message.data)  # meanwhile it may have been taken back
            self._enrol(token, enrolment)
        except (Denied, Untrusted, Conflict) as error:
            self._notify(Notice(kind="enrolment_refused", detail=f"token {number}: {error}"[:1000]))
            raise

    async def _on_record(self, token: EnrolmentToken, key: str) -> None:
        detail = f"a host enrolled for pool {token.pool} with token {token.id}"
        await self._record(Notice(kind="agent_enrolled", detail=detail, pool=token.pool, key=key, token=token.id))

    def _enrol(self, token: EnrolmentToken, enrolment: Enrolment) -> None:
        key, entry = enrolment.key, {"pool": token.pool, "key": enrolment.key}
        tokens.use(self._home, token, key)
        bound = {"host": enrolment.host} if enrolment.host else {}
        with suppress(Conflict):  # this very key, the time before
            list_edits.append(self._home.agents, "agents", {**entry, **bound}, unique="key")
        _done(self._home, token, key)
        _log.info("enrolment.done", pool=token.pool, key=key, token=token.id)

    def _checked(self, number: str, data: bytes) -> tuple[EnrolmentToken, Enrolment]:
        request = decode(data, EnrolmentRequest, limit=LARGEST)
        token = next((one for one in tokens.known(self._home) if one.id == number), None)
        if token is None or token.until <= self._clock():
            raise Denied("this token has expired or was revoked")
        enrolment = open_signed(request.by_token, Enrolment, [token.key], self._home.installation)
        if open_signed(request.by_agent, Enrolment, [enrolment.key], self._home.installation) != enrolment:
            raise Untrusted("the token and the agent's key signed different requests")
        if (enrolment.token, enrolment.pool) != (token.id, token.pool):
            raise Untrusted(f"this token is for pool {token.pool} and nothing else")
        decode_public(enrolment.key)
        for key, whose in self._held():
            if key == enrolment.key and whose != f"an agent of {token.pool}":
                raise Conflict(f"this key belongs to {whose} already: create a new key")
        self._check_use(token, enrolment.key)
        if token.replaces is not None and not tokens.is_done(self._home, token.id):
            self._check_replaced(token.replaces, enrolment)
        return token, enrolment

    def _check_replaced(self, old: str, enrolment: Enrolment) -> None:
        agents = read_agents(self._home.agents).agents
        replaced = next((one for one in agents if (one.pool, one.key) == (enrolment.pool, old)), None)
        if replaced is None:
            raise Denied("the key that this token replaces is not known any more")
        if replaced.host is not None and replaced.host != enrolment.host:
            raise Denied("the key that this token replaces is bound to another host")

    def _check_use(self, token: EnrolmentToken, key: str) -> None:
        used = tokens.used_for(self._home, token.id)
        if used is not None and used != key:
            raise Denied("this token was used already")
        if tokens.is_done(self._home, token.id) and key not in {
            one.key for one in read_agents(self._home.agents).agents
        }:
            raise Denied("this token was used already, and its agent was removed again")

    def _held(self) -> Iterator[tuple[str, str]]:
        """Yield every key in use with its owner: NATS refuses a file in which two users have one key."""
        yield from ((key, f"the service {name}") for name in SERVICES for key in self._home.keys_of(name))
        yield from ((one.key, f"principal {one.id}") for one in read_principals(self._home.principals).principals)
        yield from ((one.key, f"an agent of {one.pool}") for one in read_agents(self._home.agents).agents)
        yield from ((one.key, "a token") for one in tokens.known(self._home))
        leaves = read_leaves(self._home.leaves)
        yield from ((one.key, f"the link of site {one.site}") for one in (leaves.leaves if leaves else ()))
