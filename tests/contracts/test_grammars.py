"""Each kind of parameter accepts and refuses values by the grammar of the thing it names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_testing.each_case import each_case

CATALOGUE = Catalogue(BUILT_IN)
DIGEST = "a" * 64
KEY = "U" + "A" * 55

# operation, parameter, the others that it needs, values that fit, values that do not
# fmt: off
GRAMMARS: list[tuple[str, str, dict[str, Any], list[Any], list[Any]]] = [
    ("service_status", "service_name", {},
     ["nginx", "service", "getty@tty1", r"dev-disk\x2d", "a.b", "logrotate.timer", "ssh.socket", "_x"],
     ["nginx.service", "getty@tty1.service", "x.service.service", ".service",
      "", "-x", "nginx\n", "a b", "a/b", "reboot.target", "home.mount", "x.slice", "a;b", "$(id)", "é", "x" * 256]),
    ("container_inspect", "container_name", {},
     ["web", "web_1.x-2", "101", "ab"],
     ["", "a", "-a", ".a", "_a", "a b", "a/b", "web\n", "a;b", "x" * 256]),
    ("container_create", "image", {"container_name": "web"},
     ["nginx", "nginx:1.27", "ghcr.io/o/app:v1", "localhost:5000/a/b__c", "r.io/a.b/c-d",
      f"r.io:8443/a/b@sha256:{DIGEST}", f"a@sha256:{DIGEST}", "[::1]:5000/x", "9000",
      "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"],
     ["", "Nginx", "nginx:", ":tag", "a//b", "a@sha256:12", "nginx\n", "a b", "-a", "a:" + "t" * 129, "http://a/b",
      "a" * 513]),
    ("container_create", "ports", {"container_name": "web", "image": "nginx"},
     [[], ["80"], ["8080:80"], ["127.0.0.1:8080:80", "[::1]:53:53/udp"], ["65535:1"]],
     [["0"], ["65536"], ["80/sctp"], ["a:80"], ["80\n"], [80], "80", ["80:80:80"], ["80"] * 129]),
    ("container_create", "mounts", {"container_name": "web", "image": "nginx"},
     [["/srv/a:/data"], ["/srv/a:/data:ro"], ["vol_1:/data"]],
     [["/srv/../etc:/data"], ["/srv:/data:exec"], ["srv/a:/data"], ["/a"], ["/a:b"], ["/a:/b\n"], ["/a:/b:/c"]]),
    ("container_create", "env", {"container_name": "web", "image": "nginx"},
     [{}, {"A_1": "x=y z\n\n-"}],
     [{"1A": "x"}, {"A B": "x"}, {"A=": "x"}, {"A": "\0"}, {"A": 1}, {"": "x"},
      {f"A{number}": "" for number in range(257)}]),
    ("container_create", "memory", {"container_name": "web", "image": "nginx"},
     [6, 512],
     [5, 0, -1, True, "512m", 1.5, 2**40]),
    ("container_create", "cpus", {"container_name": "web", "image": "nginx"},
     [1, 0.5],
     [0, -1, True, "1", 2000]),
    ("container_create", "restart_policy", {"container_name": "web", "image": "nginx"},
     ["no", "always", "unless-stopped", "on-failure"],
     ["", "never", "on-failure:3", True]),
    ("stack_deploy", "stack_name", {"source": "app.yaml"},
     ["app", "app-1_b", "1a"],
     ["", "App", "-a", "a.b", "a\n", "a" * 64]),
    ("stack_deploy", "source", {"stack_name": "app"},
     ["app.yaml", "v1"],
     ["../app", "a/b", ".a", "a\n", ""]),
    ("stack_deploy", "compose", {"stack_name": "app"},
     ["services: {}\n", "é" * 1000],
     ["", "x" * 262_145, "é" * 131_073, 5]),
    ("backup_delete", "backup_id", {},
     ["daily-2026.01", DIGEST],
     ["", "-x", "a b", "a/b", "a\n", "a*"]),
    ("backup_create", "target_path", {"backup_id": "b1"},
     ["/", "/srv", "/srv/a b/é.x", "/..a/b..", "/" + "a" * 255],
     ["", "srv", "/srv/", "//srv", "/srv/../etc", "/srv/.", "/..", "/a\0b", "/a\nb", "/a\n", "/" + "a" * 256,
      "/a" * 2048, "/x" * 32_768]),
    ("snapshot_delete", "snapshot_name", {"container_name": "101"},
     ["pre_upgrade-1", "a:b.c"],
     ["", "-a", "a/b", "a@b", "a b", "a\n"]),
    ("file_read", "file_path", {},
     ["/etc/hosts", "/srv/a b/é", "/.hidden/..."],
     ["/", "hosts", "/etc/", "/etc//hosts", "/etc/../x", "/./x", "/a\0", "/a\x1b[0m", "/a\n", "\n/a",
      "/" + "x" * 65_536, 5, None]),
    ("file_read", "max_bytes", {"file_path": "/a"},
     [1, 1_048_576],
     [0, -1, 1_048_577, True, "1", 1.0]),
    ("file_read", "offset", {"file_path": "/a"},
     [0, 2**53 - 1],
     [-1, 2**53, True]),
    ("file_write", "content", {"file_path": "/a"},
     ["", "x\n", "x" * 1_048_576],
     ["x" * 1_048_577, "é" * 524_289, 5, None]),
    ("file_write", "mode", {"file_path": "/a", "content": ""},
     ["0644", "0600"],
     ["4755", "0888", "u+x", 420, "644\n", "600", ""]),
    ("file_write", "if_digest", {"file_path": "/a", "content": ""},
     [DIGEST],
     ["", "a", DIGEST.upper(), DIGEST + "\n"]),
    ("network_test", "host", {},
     ["web-1.internal", "10.0.0.1", "::1", "fe80::1", "a_b"],
     ["", "-a", "a b", "a\n", "a..b", "http://a", "x" * 254]),
    ("network_test", "port", {"host": "a", "protocol": "tcp"},
     [1, 65_535],
     [0, 65_536, True, "80"]),
    ("network_scan", "cidr", {},
     ["10.0.0.0/24", "10.0.0.1/32", "fd00::/112"],
     ["10.0.0.1/24", "10.0.0.0/8", "::/0", "10.0.0.0", "a/24", "10.0.0.0/33", "10.0.0.0/24\n", ""]),
    ("network_scan", "ports", {"cidr": "10.0.0.0/24"},
     [[1], list(range(1, 1025))],
     [[], list(range(1, 1026)), [0], [65_536], [True], "22"]),
    ("package_install", "package_name", {},
     ["nginx", "g++", "libstdc++6", "0ad"],
     ["", "a", "Nginx", "-y", "nginx-", "a b", "a=1", "nginx\n", "a/b", "nginx:amd64"]),
    ("package_install", "version", {"package_name": "nginx"},
     ["1.2.3-1", "2:1.0~rc1+deb13u1"],
     ["", "v1", "-1", "1 2", "1;2", "1\n"]),
    ("package_list", "pattern", {},
     ["lib*", "?at"],
     ["", "-a", "a b", "a\n"]),
    ("operation_cancel", "operation_id", {},
     ["a" * 26],
     ["a" * 25, "A" * 26, "a" * 26 + "\n", "1" * 26]),
    ("stop_set", "scope", {"reason": "r"},
     [["*"], ["web-?", "db*"]],
     [[], ["a.b"], [">"], [""], "*", ["a\n"]]),
    ("stop_set", "until", {"reason": "r"},
     [1.5, 0, 2_000_000_000],
     [-1, True, "tomorrow"]),
    ("stop_set", "reason", {},
     ["maintenance", "two\nlines"],
     ["", " ", "x" * 1001, "x\n", "a\0b"]),
    ("principal_manage", "key", {"action": "add", "principal_id": "bob", "kind": "human"},
     [KEY],
     ["", KEY + "\n", "S" + KEY[1:], KEY[:-1]]),
]
# fmt: on
every_grammar = each_case(
    ("operation", "name", "others", "fits", "breaks"), GRAMMARS, ids=[f"{row[0]}.{row[1]}" for row in GRAMMARS]
)


@every_grammar
def test_matching_value_is_accepted_unchanged(
    operation: str, name: str, others: dict[str, Any], fits: list[Any], breaks: Any
) -> None:
    for value in fits:
        assert CATALOGUE[operation].check({**others, name: value})[name] == value


@every_grammar
def test_other_value_is_refused(
    operation: str, name: str, others: dict[str, Any], fits: Any, breaks: list[Any]
) -> None:
    for value in breaks:
        with pytest.raises(Invalid) as caught:
            pytest.fail(f"{value!r} was taken: {CATALOGUE[operation].check({**others, name: value})}")
        assert caught.value.code == "invalid_parameters"


@each_case(
    ("operation", "values", "message"),
    [
        ("stack_deploy", {"stack_name": "a"}, "exactly one of compose, source"),
        ("stack_update", {"stack_name": "a", "compose": "x", "source": "y"}, "exactly one of compose, source"),
        ("backup_create", {"backup_id": "b"}, "exactly one of target_path, container_name"),
        ("backup_restore", {"backup_id": "b", "target_path": "/a", "container_name": "web"}, "exactly one"),
        ("backup_list", {"target_path": "/a", "container_name": "web"}, "at most one"),
        ("snapshot_create", {"snapshot_name": "s"}, "exactly one of container_name, target_path"),
        ("snapshot_list", {}, "exactly one"),
        ("snapshot_restore", {"snapshot_name": "s"}, "exactly one"),
        ("snapshot_delete", {"snapshot_name": "s"}, "exactly one"),
        ("file_copy", {"source_path": "/a", "dest_path": "/a"}, "are the same"),
        ("network_test", {"host": "a", "protocol": "tcp"}, "port is needed"),
        ("network_test", {"host": "a", "port": 80}, "no meaning for protocol icmp"),
        ("package_update", {"version": "1.0"}, "version needs package_name"),
        ("principal_manage", {"action": "add", "principal_id": "bob"}, "add needs key and kind"),
    ],
)
def test_parameters_that_exclude_or_need_each_other(operation: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        CATALOGUE[operation].check(values)


@given(st.text(max_size=40), st.sampled_from([row[:3] for row in GRAMMARS if isinstance(row[3][0], str)]))
def test_text_with_a_control_character_or_an_option_is_refused(text: str, row: tuple[str, str, dict[str, Any]]) -> None:
    operation, name, others = row
    if name in ("content", "compose", "reason"):
        return
    try:
        CATALOGUE[operation].check({**others, name: text})
    except Invalid:
        return
    assert not text.startswith("-")
    assert not any(ord(character) < 32 or ord(character) == 127 for character in text)
