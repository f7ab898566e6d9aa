"""A target by an IPv6 address, in each spelling: its host key is compared, and operations run on it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent_ssh.conftest import ID, SshHost, ssh_host

from writ_agent_ssh import enrolment
from writ_agent_ssh.settings import connection_of
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.inventory import Target
from writ_testing.each_case import each_case
from writ_testing.peers.sshd import make_key


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[SshHost]:
    async with ssh_host(tmp_path, "ListenAddress ::") as host:
        yield host


def host_key(host: SshHost, name: str = "host_key") -> str:
    return (host.server.folder / f"{name}.pub").read_text().rpartition(" ")[0]


def at(host: SshHost, address: str, **more: Any) -> None:
    host.target = host.server.target(connection=host.server.connection(host=address, **more))


@pytest.mark.parametrize("address", ["::1", "[::1]", "0:0:0:0:0:0:0:1", "::1%1", "[::1%1]"])
async def test_operation_runs_on_a_host_by_its_address(host: SshHost, address: str) -> None:
    at(host, address, host_keys=[host_key(host)])
    assert (await host.run("network_status")).outcome == "succeeded"


async def test_host_by_its_address_must_show_the_key_on_record(host: SshHost) -> None:
    make_key(host.server.folder / "other")
    at(host, "::1", host_keys=[host_key(host, "other")])
    with pytest.raises(Untrusted, match=rf"^\[::1\]:{host.server.port} does not show the host key") as refused:
        await host.run("network_status")
    assert refused.value.code == "host_key_changed"


async def test_host_by_its_address_is_found_in_known_hosts(host: SshHost) -> None:
    at(host, "[::1]")
    with pytest.raises(Untrusted) as refused:
        await host.run("network_status")
    assert refused.value.code == "host_key_unknown"
    host.server.known_hosts.write_text(f"[::1]:{host.server.port} {host_key(host)}\n")
    assert (await host.run("network_status", ID)).outcome == "succeeded"


async def test_jump_host_may_have_such_an_address(host: SshHost) -> None:
    keys = host.server.keys
    (keys / "web1.jump").write_bytes((keys / "web1").read_bytes())
    (keys / "web1.jump").chmod(0o600)
    host.server.known_hosts.write_text(f"[::1]:{host.server.port} {host_key(host)}\n")
    jump = host.server.connection(host="[::1]")
    at(host, "::1", jump=[{name: jump[name] for name in ("host", "user", "port")}])
    assert (await host.run("network_status")).outcome == "succeeded"


async def test_host_key_is_shown_for_such_an_address(host: SshHost) -> None:
    shown = await asyncio.wait_for(enrolment.shown("::1", host.server.port), 20.0)
    assert shown["line"] == host_key(host)


@each_case(("given", "bare"), [("[fe80::1%eth0]", "fe80::1%eth0"), ("[fd00::1]", "fd00::1"), ("web.example", None)])
def test_brackets_are_no_part_of_an_address(given: str, bare: str | None) -> None:
    target = Target(id="a", role="testing", backend="ssh", connection={"host": given, "user": "ops"})
    assert connection_of(target).host == (bare or given)


@pytest.mark.parametrize("alias", ["::1", "[::1]", "fe80::1%eth0", "[fe80::1%eth0]", "web:prod"])
async def test_host_key_is_found_in_known_hosts_by_any_alias(host: SshHost, alias: str) -> None:
    name = alias.strip("[]")
    host.server.known_hosts.write_text(f"[{name}]:{host.server.port} {host_key(host)}\n")
    at(host, "::1", host_key_alias=alias)
    assert (await host.run("network_status")).outcome == "succeeded"


@pytest.mark.parametrize("alias", ["[web]", "[1::2::3]", "[::1", "[::1]:22", "a b", "", "::1\n"])
def test_alias_that_can_be_no_name_in_known_hosts_is_refused(alias: str) -> None:
    target = Target(
        id="a", role="testing", backend="ssh", connection={"host": "web", "user": "ops", "host_key_alias": alias}
    )
    with pytest.raises(Invalid) as refused:
        connection_of(target)
    assert refused.value.code == "invalid_connection"


@pytest.mark.parametrize(
    "given", ["1::2::3", "[::1", "::1]", "web.example:22", "fe80::1%", "fe80::1%a b", ":", "::1\n"]
)
def test_text_that_is_neither_a_name_nor_an_address_is_refused(given: str) -> None:
    target = Target(id="a", role="testing", backend="ssh", connection={"host": given, "user": "ops"})
    with pytest.raises(Invalid) as refused:
        connection_of(target)
    assert refused.value.code == "invalid_connection"
