"""The NATS server's configuration, generated from the registry of subjects: each party's permissions.

Every party has an account of its own: each principal, each pool of agents, executors, policy, audit, status. CORE,
which has JetStream, holds the bootstrap user alone. NATS does not check a reply subject against anybody's permissions:
within one account, any requester can have the reply (JetStream's as well) published on any subject. Across accounts it
stays with the requester. Exactly the registry's subjects pass between two accounts.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from writ_bus.nats.journal import USAGE
from writ_bus.nats.monitoring import PINGED
from writ_contracts import subjects
from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.installation.account_names import gateway_account, pool_account, principal_account, token_account
from writ_contracts.registry import CHANNELS, Channel, Role, Style
from writ_contracts.subjects import inbox_prefix, replies_to_all
from writ_nats_server.accounts import Accounts
from writ_nats_server.cluster import Routes, cluster_block, tls_block
from writ_nats_server.cluster import TlsFiles as TlsFiles
from writ_nats_server.config_file import AnyServer, server_file
from writ_nats_server.jetstream_permissions import BATCH_SILENCE, STREAM_LIST, led, lent
from writ_nats_server.leaf import LeafListener, keep_apart, listener_block, next_of

CORE = "CORE"
STATUS = "STATUS"
SYSTEM = "SYS"
ANSWER_WITHIN = "60s"
MAX_FILE, UNBOUNDED = 1 << 60, -1
"""Limits of the server, whose default is three quarters of the free space at its start, and of the account. The sizes
of the streams keep them all below the disk. A limit that followed those sizes would be too low just when one is
reduced, or when a full journal needs more for its archive, and NATS refuses that.
"""

SERVICES = {Role.EXECUTOR: "EXECUTOR", Role.POLICY: "POLICY", Role.AUDIT: "AUDIT", Role.KEEPER: "KEEPER"}
PING = "$SRV.PING"
"""Executors discover each other by it."""
DISCOVERY = (PING, "$SRV.INFO", "$SRV.STATS")
CONNECTIONS = {Role.PRINCIPAL: 256, Role.SCANNER: 256, Role.AGENT: 512, Role.ENROLLER: 16}
"""The most connections of one account: of a principal, of a pool, or of a token. Without this limit one key opened
3,000 connections and used up the server's memory.
"""
SUBSCRIPTIONS = 1000
"""The most subscriptions of one connection."""
SERVER_READERS = ("AUDIT",)
"""Accounts that may query the servers' state. The system account serves these two requests and no other."""


class GatewayUser(Struct, frozen=True, kw_only=True):
    """The key of an MCP gateway, and the principals for which it may send."""

    key: str
    principals: Collection[str]


class ServerPlan(AnyServer, frozen=True, kw_only=True):
    """The plan of one nats-server. Keys are the public ones (U…); several for one role or pool share its rights."""

    store_dir: str
    bootstrap: Sequence[str]
    system: Sequence[str]
    status: Sequence[str]
    roles: Mapping[Role, Sequence[str]]
    """The keys of executor, policy, audit and provisioner."""
    principals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scanners: Collection[str] = ()
    """The principals that may send scan reports."""
    gateways: Mapping[str, GatewayUser] = field(default_factory=dict)
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    """The keys of the valid one-time tokens, by their ids."""
    tls: TlsFiles | None = None
    routes: Routes | None = None
    """Its cluster."""
    leaf: LeafListener | None = None
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By pool, the keys of the links of leaf nodes."""


class Rights(Struct, frozen=True):
    """The permissions of one user."""

    publish: list[str]
    subscribe: list[str]
    answers: bool = False
    denied: Sequence[str] = ()
    """Subjects within `publish` that are refused nevertheless."""


class AccountUsers(Struct, frozen=True, kw_only=True):
    """Users of one account with the same rights. `name` is the name of their service and inbox."""

    role: Role
    also: Role | None = None
    """A second role, whose channels these users may use too."""
    account: str
    name: str
    keys: Sequence[str]
    tokens: dict[str, str] = field(default_factory=dict)
    """Values of `{principal}`, `{pool}` or `{token}` in their subjects."""

    def subjects(self, channels: Iterable[Channel]) -> list[str]:
        """Return their subjects of these families."""
        return [one.subject(**self.tokens) for one in channels]

    def sends(self, channel: Channel) -> bool:
        """Return whether they may send on the channel."""
        return self.role in channel.senders or (self.also is not None and self.also in channel.senders)

    @property
    def sent(self) -> list[str]:
        """Return the subjects on which they publish."""
        return self.subjects(one for one in CHANNELS if self.sends(one))

    @property
    def heard(self) -> list[str]:
        """Return the subjects to which they subscribe. Streams are read in another way."""
        return self.subjects(one for one in CHANNELS if self.role in one.receivers and one.style is not Style.STREAM)

    @property
    def is_service(self) -> bool:
        """Return true if they serve requests and can be discovered."""
        return self.role not in (Role.PRINCIPAL, Role.GATEWAY, Role.ENROLLER)


def parties(plan: ServerPlan) -> list[AccountUsers]:
    """Return all parties of the registry."""
    services = [
        AccountUsers(role=role, account=account, name=role.value, keys=plan.roles.get(role, ()))
        for role, account in SERVICES.items()
    ]
    principals = [
        AccountUsers(role=Role.PRINCIPAL, also=also, account=principal_account(who), name=who, keys=keys, tokens=tokens)
        for who, keys in plan.principals.items()
        for also, tokens in [(Role.SCANNER if who in plan.scanners else None, {"principal": who})]
    ]
    pools = [
        AccountUsers(
            role=Role.AGENT, account=pool_account(pool), name=f"agent-{pool}", keys=keys, tokens={"pool": pool}
        )
        for pool, keys in plan.pools.items()
    ]
    tokens = [
        AccountUsers(
            role=Role.ENROLLER, account=token_account(one), name=f"enrol-{one}", keys=[key], tokens={"token": one}
        )
        for one, key in plan.tokens.items()
    ]
    return services + principals + pools + tokens + [one for name in plan.gateways for one in delegated(plan, name)]


def delegated(plan: ServerPlan, name: str) -> list[AccountUsers]:
    """Return a gateway's rights on behalf of each of its principals: all of them share its account and its one key."""
    account = gateway_account(name)
    return [
        AccountUsers(role=Role.GATEWAY, account=account, name=name, keys=(), tokens={"principal": who})
        for who in plan.gateways[name].principals
    ]


def _discovered(service: str) -> list[str]:
    return [subject for verb in DISCOVERY for subject in (verb, f"{verb}.{service}", f"{verb}.{service}.*")]


def _replicas(service: str) -> tuple[str, ...]:
    """Return the subjects of discovery and of its replies.

    The permission to reply is lost when NATS loads its configuration again, so a busy replica, which replies after
    that, would cause a security event. Other replies come from other accounts: audit knows late ones by their subject.
    """
    return f"{PING}.{service}", f"{replies_to_all(inbox_prefix(service))}.>"


def rights(party: AccountUsers) -> Rights:
    """Return the permissions of each key of the party."""
    listen = [*party.heard, f"{inbox_prefix(party.name)}.>", *(_discovered(party.name) if party.is_service else ())]
    servers = PINGED if party.account in SERVER_READERS else ()
    apis = [*(one.name for one in lent(party.role, party.tokens)), *servers]
    replicas = _replicas(party.name) if party.role is Role.EXECUTOR else ()
    return Rights(_unique([*party.sent, *apis, *replicas]), _unique(listen), answers=party.is_service)


def gateway_rights(plan: ServerPlan, name: str) -> Rights:
    """Return the permissions of a gateway: those of its principals together, without requests reserved for people."""
    each = [rights(party) for party in delegated(plan, name)]
    listen = [subject for one in each for subject in one.subscribe]
    return Rights(
        _unique(subject for one in each for subject in one.publish),
        _unique([*listen, f"{inbox_prefix(name)}.>"]),
        denied=[f"writ.request.*.{operation}" for operation in FOR_PEOPLE]
        if each
        else [">"],  # an empty `allow` allows all
    )


def status_rights() -> Rights:
    """Return the permissions of the status user: it discovers the services, and reads the journal's usage."""
    return Rights([USAGE, *DISCOVERY, *(f"{verb}.>" for verb in DISCOVERY)], [f"{inbox_prefix('status')}.>"])


def bootstrap_rights() -> Rights:
    """Return the permissions of the bootstrap user: it makes streams and consumers, takes and restores their snapshots,
    and probes the end of a closed journal.
    """
    read = [led(stream).name for stream in subjects.STREAMS]
    publish = ["$JS.API.>", "$JS.SNAPSHOT.>", *read, subjects.JOURNAL_CLOSED]
    return Rights(publish, [f"{inbox_prefix('bootstrap')}.>"])


def _unique(subjects: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(subjects))


def render(plan: ServerPlan) -> str:
    """Return the configuration file. After a principal or pool is added, it is rendered again and the server
    reloaded.
    """
    settings: dict[str, Any] = {
        # Without `always`, a power cut loses acknowledged events.
        "jetstream": {
            "store_dir": plan.store_dir,
            "max_file_store": MAX_FILE,
            "sync_interval": "always",
            "strict": True,
        },
        "accounts": _accounts(plan),
        "system_account": SYSTEM,
    }
    if plan.tls:
        settings["tls"] = tls_block(plan.tls)
        settings["allow_non_tls"] = not plan.tls.required
    if plan.routes:
        settings["cluster"] = cluster_block(plan.routes)
    if plan.leaf:
        settings["leafnodes"] = listener_block(plan.leaf)
    return server_file(plan, settings)


def _add_users(accounts: Accounts, plan: ServerPlan, everybody: Sequence[AccountUsers]) -> None:
    for party in everybody:
        accounts.add(party.account, *(user(key, rights(party)) for key in party.keys))
    for name, gateway in plan.gateways.items():
        accounts.add(gateway_account(name), user(gateway.key, gateway_rights(plan, name)))


def _accounts(plan: ServerPlan) -> dict[str, Any]:
    accounts, everybody = Accounts(), parties(plan)
    accounts.add(CORE, *(user(key, bootstrap_rights()) for key in plan.bootstrap))
    accounts.add(STATUS, *(user(key, status_rights()) for key in plan.status))
    _add_users(accounts, plan, everybody)
    for party in everybody:
        if party.role in CONNECTIONS:
            limits = {"max_connections": CONNECTIONS[party.role], "max_subscriptions": SUBSCRIPTIONS}
            accounts.blocks[party.account]["limits"] = limits
        _connect(accounts, party, everybody)
        _lend(accounts, party)
    for stream in subjects.STREAMS:  # the names under which everybody reads, also in the account itself
        accounts.service(CORE, CORE, led(stream).subject, known_as=led(stream).name)
    accounts.service(CORE, STATUS, STREAM_LIST, share=True, known_as=USAGE)
    accounts.add(SYSTEM, *({"nkey": key} for key in plan.system))
    for account in SERVER_READERS:
        for subject, pinged in PINGED.items():
            accounts.service(SYSTEM, account, pinged, many=True, known_as=subject)
    for party in everybody:
        if party.role is Role.AGENT:
            _link(accounts, party, plan.links.get(party.tokens["pool"], ()))
    accounts.blocks[CORE]["jetstream"] = {"max_file": UNBOUNDED, "max_memory": 0}
    if plan.leaf:
        keep_apart(accounts.blocks, {key for keys in plan.links.values() for key in keys})
    return accounts.blocks


def _link(accounts: Accounts, party: AccountUsers, keys: Sequence[str]) -> None:
    """Add the rights of the pool's agents, with a pull under its other name."""
    if keys:
        pull, known_as = renamed(party)
        accounts.add(party.account, *(user(key, link_rights(party)) for key in keys))
        accounts.service(CORE, party.account, pull, many=True, known_as=known_as)


def _connect(accounts: Accounts, party: AccountUsers, everybody: Sequence[AccountUsers]) -> None:
    """Let the others reach `party`, by the registry."""
    named = party.role in (Role.PRINCIPAL, Role.GATEWAY)
    for channel in CHANNELS:
        if channel.style is Style.REPUBLISH and party.role in channel.receivers:
            for owner in [SERVICES[role] for role in channel.senders] or [CORE]:
                accounts.stream(owner, party.account, channel.subject(**party.tokens))
        if channel.style in (Style.REQUEST, Style.PUBLISH) and party.sends(channel):
            for other in (each for each in everybody if each.role in channel.receivers):
                # Other messages of agents are signed, and name their key themselves.
                _cross(accounts, channel, party, other, share=named or channel.name == "heartbeat")
        if channel.style is Style.STREAM and party.role in channel.senders:
            accounts.service(CORE, party.account, channel.subject())
    if party.is_service:
        for subject in _discovered(party.name):
            accounts.service(party.account, STATUS, subject, many=True)


def _cross(accounts: Accounts, channel: Channel, sender: AccountUsers, receiver: AccountUsers, *, share: bool) -> None:
    """Export and import the subject of a channel. The first receiver of a channel replies; the others only listen."""
    subject = channel.subject(**{**sender.tokens, **receiver.tokens})
    if receiver.role is channel.receivers[0]:
        accounts.service(receiver.account, sender.account, subject, share=share)
    else:
        accounts.stream(sender.account, receiver.account, subject)


def _lend(accounts: Accounts, party: AccountUsers) -> None:
    """Give the party its part of JetStream."""
    for one in lent(party.role, party.tokens):
        accounts.service(
            CORE,
            party.account,
            one.subject,
            many=one.answers != "one",
            silence=BATCH_SILENCE if one.answers == "batch" else "",
            share=bool(one.known_as) and party.role is not Role.AGENT,
            known_as=one.known_as,
        )


def renamed(pool: AccountUsers) -> tuple[str, str]:
    """Return the subject of a pull, and its name on a link."""
    pull, *_ = lent(pool.role, pool.tokens)
    return pull.name, next_of(pool.tokens["pool"])


def link_rights(pool: AccountUsers) -> Rights:
    """Return the rights of the pool's agents, with a pull under its other name."""
    own, (pull, known_as) = rights(pool), renamed(pool)
    return Rights([known_as if one == pull else one for one in own.publish], own.subscribe, answers=own.answers)


def user(key: str, rights: Rights) -> dict[str, Any]:
    """Return the user in the form of the configuration."""
    permissions: dict[str, Any] = {"publish": {"allow": rights.publish}, "subscribe": {"allow": rights.subscribe}}
    if rights.denied:
        permissions["publish"]["deny"] = list(rights.denied)
    if rights.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"nkey": key, "permissions": permissions}
