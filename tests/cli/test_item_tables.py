"""Lists of mappings in an output: a table where it fits, with the names of its values where it does not."""

import re

import pytest

from writ_cli.terminal.output import Screen

SOCKETS = [
    {"address": "127.0.0.1", "port": 22, "process_name": "sshd", "up": True, "since": 1795798749.4, "extra": ""},
    {"address": "::1", "port": 8080, "process_name": "nginx", "up": False, "since": None, "extra": None},
]
NETWORKS = [{"name": "eth0", "addresses": [{"address": "192.0.2.2/24", "family": "ipv4"}, {"address": "fe80::1/64"}]}]


def lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, **output: object
) -> list[str]:
    monkeypatch.setenv("TZ", "UTC")
    screen = Screen("table")
    screen.out.width, screen.out.soft_wrap = width, False
    screen.fields(output.items(), indent=4)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_list_of_mappings_is_a_table_with_names_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = lines(capsys, monkeypatch, 80, listening=SOCKETS)
    assert shown[0] == "    listening:"
    assert shown[1].split() == ["process_name", "address", "port", "up", "since"]
    assert shown[3].split()[:4] == ["sshd", "127.0.0.1", "22", "yes"]
    assert shown[3].split()[4] in ("2026-11-27", "2026-11-28")  # by the zone
    assert shown[4].split() == ["nginx", "::1", "8080", "no"]
    assert all(line.startswith(" " * 6) and len(line) <= 80 for line in shown[1:])


def test_inner_lists_are_one_cell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(capsys, monkeypatch, 80, interfaces=NETWORKS)
    assert shown[-1].split() == ["eth0", "192.0.2.2/24", "ipv4,", "fe80::1/64"]


def test_table_that_is_too_wide_is_shown_with_the_names_of_its_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = lines(capsys, monkeypatch, 40, listening=SOCKETS)
    assert shown[1:3] == ["      - process_name: sshd, address:", "      127.0.0.1, port: 22, up: yes,"]
    assert shown[-2:] == ["      - process_name: nginx, address:", "      ::1, port: 8080, up: no"]


def test_time_is_a_date_with_its_zone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(capsys, monkeypatch, 80, active_since=1795798749.4, at=12)
    assert re.fullmatch(r"    active_since: 2026-11-2\d \d\d:\d\d:\d\d[+-]\d{4}", shown[0])
    assert shown[1] == "    at: 12"


def test_control_characters_of_a_host_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = [{"name": "a\x1b[31m", "bad\x1b]0;": "b\nc"}]
    for width in (80, 12):
        assert not any("\x1b" in line for line in lines(capsys, monkeypatch, width, found=hostile))


def test_long_values_wrap_beneath_their_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "systemd does not reply on this host: start it, then request the operation again"
    shown = lines(capsys, monkeypatch, 40, unavailable=long, log=f"first\n{long}")
    assert shown[0] == "    unavailable: systemd does not reply"
    assert all(line.startswith("      ") and len(line) <= 40 for line in shown[1:3])
    assert shown[3:5] == ["    log:", "      first"]
    assert shown[5].startswith("      systemd")
    assert all(line.startswith("        ") and len(line) <= 40 for line in shown[6:])


def test_word_longer_than_a_line_stays_whole_for_copying(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/srv/" + "long/" * 10 + "name.seed"
    assert f"      {path}" in lines(capsys, monkeypatch, 40, key=path)


def test_ids_of_containers_are_shortened_where_the_table_is_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "186d2b21e7a3" + "0" * 52
    containers = [{"container_id": whole, "container_name": "web", "image": "box:1", "status": "Up 4 minutes"}]
    shown = lines(capsys, monkeypatch, 80, containers=containers)
    assert shown[1].split() == ["container_id", "container_name", "image", "status"]
    assert shown[3].split() == ["186d2b21e7a3…", "web", "box:1", "Up", "4", "minutes"]
    assert whole in lines(capsys, monkeypatch, 200, containers=containers)[3]
    other = [{"container_id": whole[:-1], "container_name": "web", "image": "box:1"}]
    assert whole[:-1] in "".join(lines(capsys, monkeypatch, 80, containers=other)).replace(" ", "")
