"""The names of NATS accounts: each names its owner, and nats-server writes it beside what it refuses."""

import re

from msgspec import Struct

from writ_contracts.ids import TOKEN_PATTERN

PRINCIPAL, GATEWAY, POOL, TOKEN = "REQ_", "GATEWAY_", "AGENT_", "ENROL_"
_is_token = re.compile(TOKEN_PATTERN).search


class AccountOwner(Struct, frozen=True, kw_only=True):
    """The owner of an account, in words; with its principal or pool if it is one."""

    text: str
    principal: str | None = None
    pool: str | None = None
    answers: bool = False
    """It replies to requests of others: a service or an agent."""
    gateway: bool = False
    """It is an MCP gateway, which sends for others."""


def principal_account(principal: str) -> str:
    return f"{PRINCIPAL}{principal}"


def gateway_account(gateway: str) -> str:
    return f"{GATEWAY}{gateway}"


def pool_account(pool: str) -> str:
    """Return the account shared by a pool's agents."""
    return f"{POOL}{pool}"


def token_account(token: str) -> str:
    return f"{TOKEN}{token}"


def account_owner(account: str) -> AccountOwner:
    """Return the owner of an account of Writ. Any other account, such as a service's, is its own name."""
    for prefix in (PRINCIPAL, GATEWAY, POOL, TOKEN):
        name = account.removeprefix(prefix)
        if name != account and _is_token(name):
            return _owner(prefix, name)
    return AccountOwner(text=f"account {account[:64]}", answers=True)


def _owner(prefix: str, name: str) -> AccountOwner:
    if prefix == POOL:
        return AccountOwner(text=f"an agent of pool {name}", pool=name, answers=True)
    if prefix == TOKEN:
        return AccountOwner(text=f"enrolment token {name}")
    if prefix == GATEWAY:
        return AccountOwner(text=f"gateway {name}", principal=name, gateway=True)
    return AccountOwner(text=f"principal {name}", principal=name)
