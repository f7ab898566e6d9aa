"""The NATS server's configuration, made from the registry of subjects: who may publish and listen to what.

Every party has an account of its own: each principal, each pool of agents, policy, audit, status; executors are in
CORE, with JetStream. A reply subject is not checked against anybody's permissions: within one account, whoever may ask
can have the answer (JetStream's as well) published on any subject. Across accounts it stays with who asked. What passes
between two accounts is exactly what the registry says.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from writ_bus.journal import USAGE
from writ_contracts import subjects
from writ_contracts.registry import CHANNELS, Channel, Role, Style

CORE = "CORE"
STATUS = "STATUS"
SYSTEM = "SYS"
ANSWER_WITHIN = "60s"
MAX_PAYLOAD = 2 * 1024 * 1024

SERVICES = {Role.EXECUTOR: CORE, Role.POLICY: "POLICY", Role.AUDIT: "AUDIT"}
DISCOVERY = ("$SRV.PING", "$SRV.INFO", "$SRV.STATS")
JOURNAL_INFO = f"$JS.API.STREAM.INFO.{subjects.JOURNAL_STREAM}"
USAGE_READERS = (CORE, "POLICY", "AUDIT", STATUS)
"""Accounts that may see how full the journal is, under its own name (`journal.USAGE`): an account without JetStream
asks its own, empty one when it says $JS.API."""


class TlsFiles(Struct, frozen=True, kw_only=True):
    """Paths of the server's own files; with `verify` clients must show a certificate that `ca` signed."""

    ca: str
    certificate: str
    key: str
    verify: bool = True


class ServerPlan(Struct, frozen=True, kw_only=True):
    """What one nats-server is to be. Keys are the public ones (U…); several for one role or pool share its rights."""

    store_dir: str
    port: int
    monitor_port: int
    bootstrap: str
    system: str
    status: str
    roles: Mapping[Role, Sequence[str]]
    """The keys of executor, policy and audit."""
    principals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    server_name: str = "writ"
    max_file: int = 16 << 30
    tls: TlsFiles | None = None


class Rights(Struct, frozen=True):
    """What one user may do, and nothing else."""

    publish: list[str]
    subscribe: list[str]
    answers: bool = False


def inbox_prefix(name: str) -> str:
    """Where a user listens for answers: `name` is the principal's id, `agent-<pool>`, or the role."""
    return f"_INBOX_{name}"


def principal_account(principal: str) -> str:
    """The account that a principal has for itself."""
    return f"REQ_{principal}"


def pool_account(pool: str) -> str:
    """The account that a pool's agents share."""
    return f"AGENT_{pool}"


class Party(Struct, frozen=True, kw_only=True):
    """Those who share an account and its rights. `name` is that of their service and inbox."""

    role: Role
    account: str
    name: str
    keys: Sequence[str]
    tokens: dict[str, str] = field(default_factory=dict)
    """What stands for `{principal}` or `{pool}` in their subjects."""

    def subjects(self, channels: Iterable[Channel]) -> list[str]:
        """Theirs, of these families."""
        return [one.subject(**self.tokens) for one in channels]

    @property
    def sent(self) -> list[str]:
        """What they publish."""
        return self.subjects(one for one in CHANNELS if self.role in one.senders)

    @property
    def heard(self) -> list[str]:
        """What they listen to; streams are read otherwise."""
        return self.subjects(one for one in CHANNELS if self.role in one.receivers and one.style is not Style.STREAM)

    @property
    def is_service(self) -> bool:
        """Whether they answer, and can be discovered."""
        return self.role is not Role.PRINCIPAL


def parties(plan: ServerPlan) -> list[Party]:
    """Everybody whom the registry knows."""
    services = [
        Party(role=role, account=account, name=role.value, keys=plan.roles.get(role, ()))
        for role, account in SERVICES.items()
    ]
    principals = [
        Party(role=Role.PRINCIPAL, account=principal_account(who), name=who, keys=keys, tokens={"principal": who})
        for who, keys in plan.principals.items()
    ]
    pools = [
        Party(role=Role.AGENT, account=pool_account(pool), name=f"agent-{pool}", keys=keys, tokens={"pool": pool})
        for pool, keys in plan.pools.items()
    ]
    return services + principals + pools


def api_of(party: Party) -> list[str]:
    """What of JetStream's own subjects a party may use."""
    if party.role is Role.PRINCIPAL:
        return []
    if party.role is Role.AGENT:
        return _work_of(party.tokens["pool"])
    reads = [f"$JS.API.DIRECT.GET.{subjects.JOURNAL_STREAM}"]
    if party.role is Role.EXECUTOR:
        for stream, prefix in ((subjects.PARAMS_STREAM, subjects.PARAMS), (subjects.RESULTS_STREAM, subjects.RESULTS)):
            reads += [f"$JS.API.DIRECT.GET.{stream}.{prefix}", f"$JS.API.STREAM.PURGE.{stream}"]
    return reads


def _work_of(pool: str) -> list[str]:
    """To pull and to ack; the ack subject has two forms, and which one a server uses is its choice."""
    stream, durable = subjects.JOURNAL_STREAM, subjects.consumer(pool)
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
        f"$JS.ACK.*.*.{stream}.{durable}.>",
    ]


def _discovered(service: str) -> list[str]:
    return [subject for verb in DISCOVERY for subject in (verb, f"{verb}.{service}", f"{verb}.{service}.*")]


def rights(party: Party) -> Rights:
    """What each key of the party may do."""
    listen = [*party.heard, f"{inbox_prefix(party.name)}.>", *(_discovered(party.name) if party.is_service else ())]
    usage = [USAGE] if party.account in USAGE_READERS else []
    return Rights(_unique([*party.sent, *api_of(party), *usage]), _unique(listen), answers=party.is_service)


def status_rights() -> Rights:
    """Sees which services are there, and how full the journal is."""
    return Rights([USAGE, *DISCOVERY, *(f"{verb}.>" for verb in DISCOVERY)], [f"{inbox_prefix('status')}.>"])


def bootstrap_rights() -> Rights:
    """Makes streams and consumers, and does nothing else."""
    return Rights(["$JS.API.>"], [f"{inbox_prefix('bootstrap')}.>"])


def _unique(subjects: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(subjects))


def render(plan: ServerPlan) -> str:
    """The configuration file. Whoever adds a principal or pool renders it anew and reloads the server."""
    settings: dict[str, Any] = {
        "server_name": plan.server_name,
        "host": plan.host,
        "port": plan.port,
        "http": f"127.0.0.1:{plan.monitor_port}",
        "max_payload": MAX_PAYLOAD,
        "ping_interval": "10s",
        "ping_max": 2,
        "write_deadline": "10s",
        # Without `always` acknowledged events are lost when the power goes.
        "jetstream": {"store_dir": plan.store_dir, "sync_interval": "always", "strict": True},
        "accounts": _accounts(plan),
        "system_account": SYSTEM,
    }
    if plan.tls:
        settings["tls"] = _tls(plan.tls)
    return "".join(f"{key}: {json.dumps(value, indent=2)}\n" for key, value in settings.items())


def _tls(files: TlsFiles) -> dict[str, Any]:
    return {
        "ca_file": files.ca,
        "cert_file": files.certificate,
        "key_file": files.key,
        "verify": files.verify,
        "min_version": "1.3",
    }


class _Accounts:
    """Accounts under construction: what crosses from one to another is exported here and imported there."""

    def __init__(self) -> None:
        self.blocks: dict[str, dict[str, Any]] = {}

    def add(self, account: str, *users: Mapping[str, Any]) -> None:
        block = self.blocks.setdefault(account, {"exports": [], "imports": [], "users": []})
        block["users"] += users

    def service(
        self, owner: str, to: str, subject: str, *, many: bool = False, share: bool = False, known_as: str = ""
    ) -> None:
        """`to` may ask `owner` on that subject. `many`: a question brings more than one answer."""
        export = {"service": subject, "accounts": [to], **({"response_type": "stream"} if many else {})}
        # share: the server itself adds Nats-Request-Info, which names the key; a forged one is overwritten.
        taken = {"service": {"account": owner, "subject": subject}, **({"share": True} if share else {})}
        self._cross(owner, to, export, {**taken, "to": known_as} if known_as else taken)

    def stream(self, owner: str, to: str, subject: str) -> None:
        """`to` hears what is published in `owner` on that subject."""
        taken = {"stream": {"account": owner, "subject": subject}}
        self._cross(owner, to, {"stream": subject, "accounts": [to]}, taken)

    def _cross(self, owner: str, to: str, export: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
        if owner == to and "to" not in taken:
            return
        exports, imports = self.blocks[owner]["exports"], self.blocks[to]["imports"]
        kind = "service" if "service" in export else "stream"
        known = next((one for one in exports if one.get(kind) == export[kind]), None)
        if known is None:
            exports.append(dict(export))
        elif to not in known["accounts"]:
            known["accounts"].append(to)
        if taken not in imports:
            imports.append(dict(taken))


def _accounts(plan: ServerPlan) -> dict[str, Any]:
    accounts, everybody = _Accounts(), parties(plan)
    accounts.add(CORE, _user(plan.bootstrap, bootstrap_rights()))
    accounts.add(STATUS, _user(plan.status, status_rights()))
    for party in everybody:
        accounts.add(party.account, *(_user(key, rights(party)) for key in party.keys))
    for party in everybody:
        _connect(accounts, party, everybody)
    for account in USAGE_READERS:
        accounts.service(CORE, account, JOURNAL_INFO, share=True, known_as=USAGE)
    accounts.blocks[CORE]["jetstream"] = {"max_file": plan.max_file, "max_memory": 0}
    return {**accounts.blocks, SYSTEM: {"users": [{"nkey": plan.system}]}}


def _connect(accounts: _Accounts, party: Party, everybody: Sequence[Party]) -> None:
    """Let the others reach `party` as the registry says, and the party its part of JetStream."""
    outsider = party.role in (Role.PRINCIPAL, Role.AGENT)
    for channel in CHANNELS:
        if channel.style is Style.REPUBLISH and party.role in channel.receivers:
            accounts.stream(CORE, party.account, channel.subject(**party.tokens))
        if channel.style in (Style.REQUEST, Style.PUBLISH) and party.role in channel.senders:
            for other in everybody:
                if other.role in channel.receivers:
                    subject = channel.subject(**{**party.tokens, **other.tokens})
                    accounts.service(other.account, party.account, subject, share=outsider)
    for subject in api_of(party):
        accounts.service(CORE, party.account, subject, many=True)
    if party.is_service:
        for subject in _discovered(party.name):
            accounts.service(party.account, STATUS, subject, many=True)


def _user(key: str, rights: Rights) -> dict[str, Any]:
    permissions: dict[str, Any] = {"publish": {"allow": rights.publish}, "subscribe": {"allow": rights.subscribe}}
    if rights.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"nkey": key, "permissions": permissions}
