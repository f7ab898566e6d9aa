"""Bearer tokens and the keys of their principals: a token counts for the principal for which it was made."""

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from tests.gateway.conftest import principal_entry

from writ_contracts.errors import ConfigError, Denied, Untrusted
from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_contracts.inventory import Principal
from writ_documents.principal_changes import CHANGES
from writ_gateway.http import served_principals
from writ_gateway.http.config import HttpGatewayConfig
from writ_gateway.http.http_server import McpListener
from writ_gateway.http.served_principals import ServedPrincipals
from writ_gateway.http.sessions import PrincipalSessions
from writ_installation.files.gateway_tokens import bind_tokens, create_token, end_tokens, read_tokens
from writ_runtime.metrics import Metrics
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.memory.bus import MemoryBus


def principal(name: str) -> Principal:
    return msgspec.convert(principal_entry(name, via="gateway"), Principal)


def token_of(path: Path, one: Principal) -> GatewayToken:
    return create_token(path, one, now=0.0, lifetime=60, note="")[1]


def unbound(path: Path) -> None:
    """Write the tokens as an earlier release did."""
    tokens = [structs.replace(one, key=None) for one in read_tokens(path)]
    path.write_bytes(msgspec.json.encode(GatewayTokens(tokens=tokens)))


def test_token_of_an_earlier_release_is_bound_to_the_present_principal(tmp_path: Path) -> None:
    path, bot, gone = tmp_path / "tokens.json", principal("bot"), principal("gone")
    token = token_of(path, bot)
    token_of(path, gone)
    unbound(path)
    assert b"key" not in path.read_bytes()
    assert read_tokens(path)[0].counts_for(bot)
    bind_tokens(path, {"bot": bot})
    assert read_tokens(path) == [token]  # a later `gone` is somebody else
    bind_tokens(path, {"bot": principal("bot")})
    assert read_tokens(path) == [token]


def test_tokens_of_a_former_key_are_removed_alone(tmp_path: Path) -> None:
    path, bot, other = tmp_path / "tokens.json", principal("bot"), principal("other")
    made = [token_of(path, one) for one in (bot, other)]
    known = {"bot": bot, "other": other}
    assert end_tokens(path, known, "bot") == []
    assert end_tokens(path, known | {"bot": principal("bot")}, "bot") == made[:1]
    assert end_tokens(path, {}, "other") == read_tokens(path) + made[1:]
    assert read_tokens(path) == []


def test_damaged_file_of_tokens_keeps_nobody_from_removing_a_principal(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("{")
    bind_tokens(path, {})
    assert end_tokens(path, {}, "bot") == []
    assert path.read_text() == "{"


def served(folder: Path, *entries: dict[str, object], changes: object = None) -> ServedPrincipals:
    gateways = [principal_entry(name, kind="gateway") for name in ("gateway", "other")]
    people = [principal_entry("alice", kind="human")]
    (folder / "principals.yaml").write_text(json.dumps({"principals": [*gateways, *people, *entries]}))
    if changes is not None:
        (folder / CHANGES).write_text(json.dumps({"changes": changes}))
    return ServedPrincipals("gateway", folder / "principals.yaml", folder / CHANGES)


def test_principals_of_another_gateway_are_unknown_and_disabled_ones_are_named(tmp_path: Path) -> None:
    bot = principal_entry("bot", via="gateway", acts_for="alice")
    entries = [bot, principal_entry("tidy", via="other"), principal_entry("local")]
    known = served(tmp_path, *entries, principal_entry("off", via="gateway", disabled=True))
    known.check("bot")
    for name in ("tidy", "local", "nobody"):
        with pytest.raises(Untrusted, match=f"no principal '{name}' comes through this gateway"):
            known.check(name)
    with pytest.raises(Denied, match="principal off is disabled") as refused:
        known.check("off")
    assert refused.value.code == "principal_disabled"


async def test_changes_by_operations_count_once_the_provisioner_has_them(tmp_path: Path) -> None:
    bot = principal_entry("bot", via="gateway", acts_for="alice")
    known = served(tmp_path, bot)
    token = GatewayToken(id="a" * 8, principal="bot", digest="0" * 64, created=0.0, expires=1.0, key=str(bot["key"]))
    assert known.holds(token)
    alice = json.loads((tmp_path / "principals.yaml").read_text())["principals"][2]
    disabled = {"action": "disable", "principal_id": "alice", "replaces": f"{alice['key']}.0"}
    removed = {"action": "remove", "principal_id": "bot", "replaces": f"{bot['key']}.0"}
    for change, code in ((disabled, "principal_disabled"), (removed, "unknown_principal")):
        (tmp_path / CHANGES).write_text(json.dumps({"changes": [{"operation_id": "a" * 26, "change": change}]}))
        await known.refresh()
        with pytest.raises((Denied, Untrusted)) as refused:
            known.check("bot")
        assert refused.value.code == code
    assert not known.holds(token)
    (tmp_path / CHANGES).unlink()
    await known.refresh()
    known.check("bot")
    (tmp_path / "principals.yaml").write_text("principals: [")
    await known.refresh()
    known.check("bot")  # the last good list, as for NATS
    assert known.problem


async def test_nothing_is_sent_for_a_new_principal_before_nats_can_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_principals, "SETTLE_SECONDS", 60.0)
    bot = principal_entry("bot", via="gateway")
    known = served(tmp_path, bot, principal_entry("tidy", via="gateway", disabled=True))
    async with asyncio.timeout(30):
        await known.admit("bot")
    monkeypatch.setattr(served_principals, "SETTLE_SECONDS", 0.3)
    served(tmp_path, bot, principal_entry("tidy", via="gateway"))
    before = time.monotonic()
    await known.admit("tidy")
    assert time.monotonic() - before >= 0.3


async def test_events_of_a_principal_without_access_are_followed_no_longer(tmp_path: Path) -> None:
    """When the gateway connects again, NATS would refuse the subscription."""
    bot, tidy = principal_entry("bot", via="gateway"), principal_entry("tidy", via="gateway")
    bus, known = MemoryBus(), served(tmp_path, bot, tidy)
    sessions = PrincipalSessions(bus, known, load_catalogue(), read_only=False, public_only=False)
    followed = {name: sessions._of(name).writ._following for name in ("bot", "tidy")}
    for one in followed.values():
        await one.start()
    served(tmp_path, {**bot, "disabled": True}, tidy)
    await known.refresh()
    await sessions.close_ended()
    assert [name for name, one in followed.items() if one._subscription] == ["tidy"]
    with pytest.raises(Denied, match="principal bot is disabled"):
        await followed["bot"].start()


def test_gateway_that_cannot_find_the_changes_of_principals_does_not_start(tmp_path: Path) -> None:
    config = HttpGatewayConfig(
        nats_url="nats://127.0.0.1", installation="", key_file=tmp_path / "key", tokens=tmp_path / "tokens.json", port=0
    )
    with pytest.raises(ConfigError, match="WRIT_AGENTS is not set"):
        McpListener(config, MemoryBus(), Metrics())
