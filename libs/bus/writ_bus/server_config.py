"""The NATS server's configuration, made from the registry of subjects: who may publish and listen to what.

One account for each party that is not trusted: every principal, every pool of agents. A reply subject is not checked
against permissions, but an answer stays within the account of who asked; so nobody can have an answer delivered to, or
stored in the name of, somebody else. JetStream is in CORE alone, with Writ's own services.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from writ_bus.streams import consumer
from writ_contracts import subjects
from writ_contracts.registry import CHANNELS, Channel, Role, Style

CORE = "CORE"
SYSTEM = "SYS"
ANSWER_WITHIN = "60s"
MAX_PAYLOAD = 2 * 1024 * 1024

SERVICES = (Role.EXECUTOR, Role.POLICY, Role.AUDIT)
DISCOVERY = ("$SRV.PING", "$SRV.INFO", "$SRV.STATS")


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


def service_rights(role: Role) -> Rights:
    """Executor, policy, audit."""
    publish = [one.subject() for one in CHANNELS if role in one.senders]
    listen = [one.subject() for one in CHANNELS if role in one.receivers and one.style != Style.STREAM]
    publish += _journal_reads(role)
    subscribe = [*listen, *_discovered(role.value), f"{inbox_prefix(role.value)}.>"]
    return Rights(sorted(set(publish)), sorted(set(subscribe)), answers=True)


def _journal_reads(role: Role) -> list[str]:
    reads = [f"$JS.API.DIRECT.GET.{subjects.JOURNAL_STREAM}", f"$JS.API.STREAM.INFO.{subjects.JOURNAL_STREAM}"]
    if role is Role.EXECUTOR:
        for stream, prefix in ((subjects.PARAMS_STREAM, subjects.PARAMS), (subjects.RESULTS_STREAM, subjects.RESULTS)):
            reads += [f"$JS.API.DIRECT.GET.{stream}.{prefix}", f"$JS.API.STREAM.PURGE.{stream}"]
    return reads


def _discovered(service: str) -> list[str]:
    return [subject for verb in DISCOVERY for subject in (verb, f"{verb}.{service}", f"{verb}.{service}.*")]


def status_rights() -> Rights:
    """Sees what is there: services, streams, consumers. Reads no message of any of them."""
    info = ["$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.INFO.*.*"]
    publish = [*info, "$JS.API.CONSUMER.NAMES.*", *DISCOVERY, *(f"{verb}.>" for verb in DISCOVERY)]
    return Rights(publish, [f"{inbox_prefix('status')}.>"])


def bootstrap_rights() -> Rights:
    """Makes streams and consumers, and does nothing else."""
    return Rights(["$JS.API.>"], [f"{inbox_prefix('bootstrap')}.>"])


def principal_rights(principal: str) -> Rights:
    """Its own requests, queries and events."""
    publish = [one.subject(principal=principal) for one in _sent_by(Role.PRINCIPAL)]
    return Rights(publish, [subjects.events_of(principal), f"{inbox_prefix(principal)}.>"])


def agent_rights(pool: str) -> Rights:
    """Its pool's work, claims and receipts; answers looks and cancels."""
    publish = [one.subject(pool=pool) for one in _sent_by(Role.AGENT)] + _work_of(pool)
    listen = [one.subject(pool=pool) for one in _asked_of_agents()]
    name = f"agent-{pool}"
    return Rights(publish, [*listen, *_discovered(name), f"{inbox_prefix(name)}.>"], answers=True)


def _sent_by(role: Role) -> list[Channel]:
    return [one for one in CHANNELS if role in one.senders]


def _asked_of_agents() -> list[Channel]:
    return [one for one in CHANNELS if Role.AGENT in one.receivers and one.style is Style.REQUEST]


def _work_of(pool: str) -> list[str]:
    """To pull and to ack; the ack subject has two forms, and which one a server uses is its choice."""
    stream, durable = subjects.JOURNAL_STREAM, consumer(pool)["durable_name"]
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
        f"$JS.ACK.*.*.{stream}.{durable}.>",
    ]


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


def _accounts(plan: ServerPlan) -> dict[str, Any]:
    accounts = {CORE: _core(plan), SYSTEM: {"users": [{"nkey": plan.system}]}}
    for principal, keys in plan.principals.items():
        accounts[principal_account(principal)] = _principal(principal, keys)
    for pool, keys in plan.pools.items():
        accounts[pool_account(pool)] = _pool(pool, keys)
    return accounts


def _core(plan: ServerPlan) -> dict[str, Any]:
    users = [_user(plan.bootstrap, bootstrap_rights()), _user(plan.status, status_rights())]
    for role in SERVICES:
        users += [_user(key, service_rights(role)) for key in plan.roles.get(role, ())]
    exports = [export for principal in plan.principals for export in _exports_to_principal(principal)]
    exports += [export for pool in plan.pools for export in _exports_to_pool(pool)]
    imports = [_import(pool_account(pool), one.subject(pool=pool)) for pool in plan.pools for one in _asked_of_agents()]
    limits = {"max_file": plan.max_file, "max_memory": 0}
    return {"jetstream": limits, "exports": exports, "imports": imports, "users": users}


def _exports_to_principal(principal: str) -> list[dict[str, Any]]:
    to = [principal_account(principal)]
    asked = [{"service": one.subject(principal=principal), "accounts": to} for one in _sent_by(Role.PRINCIPAL)]
    return [*asked, {"stream": subjects.events_of(principal), "accounts": to}]


def _exports_to_pool(pool: str) -> list[dict[str, Any]]:
    to = [pool_account(pool)]
    told = [{"service": one.subject(pool=pool), "accounts": to} for one in _sent_by(Role.AGENT)]
    # One pull request brings many messages, one ack at most one answer.
    work = [{"service": subject, "response_type": "stream", "accounts": to} for subject in _work_of(pool)]
    return told + work


def _principal(principal: str, keys: Sequence[str]) -> dict[str, Any]:
    # share: the server itself adds Nats-Request-Info, which names the key; a forged one is overwritten.
    imports = [_import(CORE, one.subject(principal=principal), share=True) for one in _sent_by(Role.PRINCIPAL)]
    imports.append({"stream": {"account": CORE, "subject": subjects.events_of(principal)}})
    return {"imports": imports, "users": [_user(key, principal_rights(principal)) for key in keys]}


def _pool(pool: str, keys: Sequence[str]) -> dict[str, Any]:
    asked = [{"service": one.subject(pool=pool), "accounts": [CORE]} for one in _asked_of_agents()]
    imports = [_import(CORE, one.subject(pool=pool), share=True) for one in _sent_by(Role.AGENT)]
    imports += [_import(CORE, subject) for subject in _work_of(pool)]
    return {"exports": asked, "imports": imports, "users": [_user(key, agent_rights(pool)) for key in keys]}


def _import(account: str, subject: str, *, share: bool = False) -> dict[str, Any]:
    taken: dict[str, Any] = {"service": {"account": account, "subject": subject}}
    return {**taken, "share": True} if share else taken


def _user(key: str, rights: Rights) -> dict[str, Any]:
    permissions: dict[str, Any] = {"publish": {"allow": rights.publish}, "subscribe": {"allow": rights.subscribe}}
    if rights.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"nkey": key, "permissions": permissions}
