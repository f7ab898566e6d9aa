"""`writ target` on a handwritten inventory, without a running installation."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from writ_cli.main import cli

INVENTORY = """\
# Our hosts.
targets:
  - id: jump  # the way in
    role: gateway
    backend: ssh
    connection: {host: jump.example.org, user: ops}
  # web servers
  - id: web1
    role: production
    backend: ssh
    gateway: jump  # only through it
    tags: [web, old]
    connection: {host: web1.example.org, user: ops}
  - id: box
    role: testing
    backend: docker
# end
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY)
    return path


def _writ(inventory: Path, *words: str) -> Result:
    return CliRunner(env={"WRIT_HOME": str(inventory.parent)}).invoke(cli, ["target", *words])


def _key_files(inventory: Path, name: str) -> list[Path]:
    folder = inventory.parent / "keys" / "ssh"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name, folder / f"{name}.pub"]
    for file in files:
        file.write_text(file.name)
    return files


def test_show_gives_the_entry_and_its_pool(inventory: Path) -> None:
    done = _writ(inventory, "show", "web1")
    assert done.exit_code == 0
    assert "pool: ssh" in done.stdout
    assert "gateway: jump" in done.stdout
    as_json = msgspec.json.decode(_writ(inventory, "show", "web1", "-o", "json").stdout)
    assert (as_json["id"], as_json["tags"]) == ("web1", ["web", "old"])


@pytest.mark.parametrize(
    "words", [("show", "wbe1"), ("remove", "wbe1", "--yes"), ("rename", "wbe1", "x"), ("tag", "wbe1", "+a")]
)
def test_an_unknown_target_is_refused_with_the_nearest_one(inventory: Path, words: tuple[str, ...]) -> None:
    done = _writ(inventory, *words)
    assert done.exit_code == 2
    assert "there is no target 'wbe1' in the inventory; did you mean 'web1'?" in done.stderr
    assert inventory.read_text() == INVENTORY


def test_remove_needs_a_confirmation(inventory: Path) -> None:
    done = _writ(inventory, "remove", "web1")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert inventory.read_text() == INVENTORY


def test_remove_takes_the_entry_alone_and_names_what_stays(inventory: Path) -> None:
    private, public = _key_files(inventory, "web1")
    done = _writ(inventory, "remove", "web1", "--yes")
    assert done.exit_code == 0
    start, end = INVENTORY.index("  - id: web1"), INVENTORY.index("  - id: box")
    assert inventory.read_text() == INVENTORY[:start] + INVENTORY[end:]
    assert str(private) in done.stdout
    assert private.exists()
    assert public.exists()
    assert "Pool" not in done.stdout
    assert "Pool docker has no target now" in _writ(inventory, "remove", "box", "--yes").stdout


def test_clean_of_a_target_that_is_not_over_ssh_removes_nothing_and_leads_to_the_steps(inventory: Path) -> None:
    done = _writ(inventory, "remove", "box", "--yes", "--clean")
    assert (done.exit_code, "box is not a target over SSH, and nothing was removed: docs/un" in done.stderr) == (
        2,
        True,
    )
    assert inventory.read_text() == INVENTORY


def test_a_gateway_in_use_is_not_removed(inventory: Path) -> None:
    done = _writ(inventory, "remove", "jump", "--yes")
    assert done.exit_code != 0
    assert "jump is the gateway of web1" in done.stderr
    assert inventory.read_text() == INVENTORY


def test_rename_takes_credentials_and_the_gateway_of_others_along(inventory: Path) -> None:
    files = _key_files(inventory, "jump")
    done = _writ(inventory, "rename", "jump", "bastion")
    assert done.exit_code == 0
    renamed = INVENTORY.replace("id: jump ", "id: bastion ").replace("gateway: jump ", "gateway: bastion ")
    assert inventory.read_text() == renamed
    assert not any(file.exists() for file in files)
    assert [file.read_text() for file in sorted(files[0].parent.iterdir())] == ["jump", "jump.pub"]
    assert sorted(file.name for file in files[0].parent.iterdir()) == ["bastion", "bastion.pub"]


@pytest.mark.parametrize(
    ("new", "why"), [("box", "already"), ("../x", "cannot name a target"), ("writ", "reserved for Writ itself")]
)
def test_rename_refuses_a_name_and_changes_nothing(inventory: Path, new: str, why: str) -> None:
    files = _key_files(inventory, "web1")
    done = _writ(inventory, "rename", "web1", new)
    assert done.exit_code != 0
    assert why in done.stderr
    assert inventory.read_text() == INVENTORY
    assert sorted(files[0].parent.iterdir()) == sorted(files)


def test_rename_of_a_local_target_keeps_its_pool(inventory: Path) -> None:
    inventory.write_text("targets:\n- id: here\n  role: testing\n  backend: local\n")
    done = _writ(inventory, "rename", "here", "there")
    assert done.exit_code != 0
    assert "writ target set here agent=local-here" in done.stderr
    assert _writ(inventory, "set", "here", "agent=local-here").exit_code == 0
    renamed = _writ(inventory, "rename", "here", "there")
    assert (renamed.exit_code, "credentials" in renamed.stdout) == (0, False)
    expected = "targets:\n- id: there\n  role: testing\n  backend: local\n  agent: local-here\n"
    assert inventory.read_text() == expected


def test_tag_adds_and_removes_words_that_look_like_options(inventory: Path) -> None:
    done = _writ(inventory, "tag", "web1", "+blue", "-old", "+home")
    assert (done.exit_code, done.stdout) == (0, "tags of web1: web, blue, home\n")
    assert inventory.read_text() == INVENTORY.replace("[web, old]", "[web, blue, home]")
    assert _writ(inventory, "tag", "box", "--output", "json", "+h", "+o").exit_code == 0
    assert _writ(inventory, "tag", "box", "-h", "-o").stdout == "tags of box: none\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("+a", "-missing"), "web1 has no tag missing; it has web, old"),
        (("+a", "-a"), "added and removed at once"),
        (("blue",), "neither +TAG nor -TAG"),
        (("+x", "-o", "json"), "'json' is neither +TAG nor -TAG; the option is --output here: -o removes the tag 'o'"),
        (("--blue",), "neither +TAG nor -TAG"),
        (("+",), "neither +TAG nor -TAG"),
    ],
)
def test_tag_refuses_wrong_words(inventory: Path, words: tuple[str, ...], why: str) -> None:
    done = _writ(inventory, "tag", "web1", *words)
    assert done.exit_code == 2
    assert why in done.stderr
    assert inventory.read_text() == INVENTORY


def test_set_replaces_values_of_the_entry(inventory: Path) -> None:
    assert _writ(inventory, "set", "web1", "role=staging", "file_roots=[/srv]").exit_code == 0
    expected = INVENTORY.replace("role: production", "role: staging").replace(
        "connection: {host: web1.example.org, user: ops}\n",
        'connection: {host: web1.example.org, user: ops}\n    file_roots: ["/srv"]\n',
    )
    assert inventory.read_text() == expected


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("role=prodution", "did you mean 'production'"),
        ("rol=staging", "did you mean 'role'"),
        ("gateway=nowhere", "there is no target 'nowhere'"),
        ("id=x", "writ target rename"),
        ("pool=other", "its pool is the key agent"),
        ("role", "not KEY=VALUE"),
    ],
)
def test_set_refuses_what_the_inventory_cannot_have(inventory: Path, word: str, why: str) -> None:
    done = _writ(inventory, "set", "web1", word)
    assert done.exit_code != 0
    assert why in done.stderr
    assert inventory.read_text() == INVENTORY


def test_set_reaches_keys_within_keys(inventory: Path) -> None:
    words = ("connection.port=2222", "connection.user=", "backup.repository=/srv/r", "backup.password_file=/etc/r")
    done = _writ(inventory, "set", "web1", *words)
    assert done.exit_code == 0, done.stderr
    entry = msgspec.json.decode(_writ(inventory, "show", "web1", "-o", "json").stdout)
    assert entry["connection"] == {"host": "web1.example.org", "port": 2222}
    assert entry["backup"] == {"repository": "/srv/r", "password_file": "/etc/r"}
    assert "  # web servers\n" in inventory.read_text()
    for word, why in (
        ("role.x=1", "there is no key 'x' in a value that is not a mapping"),
        ("conection.port=1", "'connection'"),
    ):
        refused = _writ(inventory, "set", "web1", word)
        assert (refused.exit_code, why in refused.stderr) == (2, True)


def test_repin_replaces_the_pinned_host_keys(inventory: Path) -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdEJzLSdSvpOhurO0nFpHYemOq7XLxUsE67n9lmQfhU"
    done = _writ(inventory, "repin", "web1", "--host-key", line)
    assert done.exit_code == 0, done.stderr
    entry = msgspec.json.decode(_writ(inventory, "show", "web1", "-o", "json").stdout)
    assert entry["connection"]["host_keys"] == [line]
    assert entry["connection"]["host"] == "web1.example.org"
    assert _writ(inventory, "repin", "box", "--host-key", line).exit_code == 2


def test_an_inventory_in_flow_style_is_edited_in_its_place(inventory: Path) -> None:
    head = "targets: [{id: a, role: testing, backend: ssh}, "
    inventory.write_text(head + "{id: b, role: testing, backend: ssh, gateway: a}]  # mine\n")
    for words in (("rename", "a", "c"), ("tag", "c", "+x"), ("set", "c", "role=staging"), ("remove", "b", "--yes")):
        done = _writ(inventory, *words)
        assert done.exit_code == 0, done.stderr
    assert inventory.read_text() == "targets: [{id: c, role: staging, backend: ssh, tags: [x]}]  # mine\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["backend=shh"], "no operation has backend 'shh'; did you mean 'ssh'?"),
        (["capabilities=[service_restrat]"], "'service_restrat'; did you mean 'service_restart'?"),
        (["file_roots=[srv]"], "the file root 'srv' is not an absolute path"),
        (["file_roots=/srv/www"], "expected a list, got a text"),
        (["connection.prot=22"], "connection: unknown key 'prot'; did you mean 'port'?"),
        (["connection.port=70000"], "connection.port: 70000 is not from 1 to 65535"),
        (["connection.port=ssh"], "connection.port: expected a whole number, got 'ssh'"),
        (["connection.become=sodo"], "connection.become: 'sodo' is none of sudo"),
        (["connection.become={operatons: [file_read]}"], "connection.become: unknown key 'operatons'; did you mean"),
        (["connection.jump=[{host: a, usr: b}]"], "connection.jump[0]: unknown key 'usr'; did you mean 'user'?"),
        (["connection.user=a b"], "connection.user: 'a b' is not a valid value"),
        (["backend=local", "connection={hots: a}"], "connection: unknown key 'hots'; did you mean 'host'?"),
        (["docker.sokcet=/x"], "docker: unknown key 'sokcet'; did you mean 'socket'?"),
    ],
)
def test_set_refuses_an_unknown_value(inventory: Path, words: list[str], expected: str) -> None:
    refused = _writ(inventory, "set", "web1", *words)
    assert (refused.exit_code, expected in refused.stderr) == (2, True), refused.stderr
    assert inventory.read_text() == INVENTORY


def test_set_accepts_the_keys_of_each_backend_and_names_a_new_pool(inventory: Path) -> None:
    known = (
        "connection.become.operations=['service_*']",
        "connection.via=tailscale",
        "capabilities=['service_*', file_read]",
        "file_roots=[/srv, {path: /etc, allow_system_root: true}]",
        "docker={}",
        "connection.connect_retries=3",
    )
    done = _writ(inventory, "set", "web1", *known)
    assert (done.exit_code, done.stderr) == (0, "")
    pooled = _writ(inventory, "set", "web1", "agent=dokcer")
    assert pooled.exit_code == 0
    assert "pool 'dokcer' is new, and no agent serves it; did you mean 'docker'?" in pooled.stderr
