"""A host is added as a new user adds it: by an alias of ssh_config(5), with a key that has a passphrase."""

import json
from pathlib import Path

import asyncssh
import pytest

from writ_testing.installations.installation import open_policy, prepare, running_installation
from writ_testing.peers.sshd import USER, sshd

pytestmark = pytest.mark.timeout(120)


async def test_host_is_added_by_its_alias_with_a_passphrase_key_and_operated_on(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("one two\n")
    async with sshd(tmp_path / "host") as server:
        server.authorize("mine")
        key = server.keys / "mine"
        plain = asyncssh.import_private_key(key.read_bytes())
        key.write_bytes(plain.export_private_key(passphrase="one two", rounds=1, ignore_few_rounds=True))
        (tmp_path / ".ssh").mkdir()
        config = f"Host web\n  HostName 127.0.0.1\n  User {USER}\n  Port {server.port}\n"
        (tmp_path / ".ssh" / "config").write_text(config)
        home = prepare(tmp_path, policy=open_policy())
        async with running_installation(tmp_path, home=home) as installation:
            host_key = (server.folder / "host_key.pub").read_text().rpartition(" ")[0]
            named = ("--ssh", "web", "--role", "development", "--host-key", host_key)
            with_key = ("--key", str(key), "--passphrase-file", str(secret))
            here = {"HOME": str(tmp_path)}
            added = await installation.writ("target", "add", "web-9", *named, *with_key, environ=here)
            assert added.status == 0, added
            folder = f"connection.folder={server.host_folder}"  # not that of the machine which runs the tests
            assert (await installation.writ("target", "set", "web-9", folder)).status == 0
            done = await installation.writ("run", "network_status", "-t", "web-9", "-o", "json")
            assert (done.status, json.loads(done.out)["outcome"]) == (0, "succeeded"), done
            assert server.sessions()
            assert "one two" not in home.inventory.read_text() + installation.logs()
