"""The grammar of unit names: pure, tested on texts of Hypothesis."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writ_hostops.errors import HostError
from writ_hostops.systemd.names import escaped, full_name
from writ_testing.each_case import each_case

VALID = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*\.(service|socket|timer)")


@each_case(
    ("name", "full"),
    [
        ("nginx", "nginx.service"),
        ("nginx.service", "nginx.service"),
        ("apt-daily.timer", "apt-daily.timer"),
        ("docker.socket", "docker.socket"),
        ("getty@tty1", "getty@tty1.service"),
        ("user@1000.service", "user@1000.service"),
        ("systemd-fsck@dev-disk-by\\x2duuid-1.service", "systemd-fsck@dev-disk-by\\x2duuid-1.service"),
        ("org.example.thing", "org.example.thing.service"),
        ("a@b@c", "a@b@c.service"),
        ("service", "service.service"),
    ],
)
def test_a_bare_name_means_a_service(name: str, full: str) -> None:
    assert full_name(name) == full


@each_case(
    "name",
    [
        "",
        ".service",
        "-nginx",
        "--help",
        "nginx\n",
        "nginx\0",
        "nginx service",
        "nginx;reboot",
        "$(reboot)",
        "nginx/../../x",
        "über",
        "@x",
        "@",
        "template@",
        "template@.service",
        "reboot.target",
        "-.mount",
        "dev-sda.swap",
        "user.slice",
        "a" * 248,
        "nginx*",
        "nginx.service\n",
    ],
)
def test_name_of_no_service_is_refused(name: str) -> None:
    with pytest.raises(HostError) as refused:
        full_name(name)
    assert refused.value.code == "invalid_parameter"


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9:_.\\@-]{0,30}(\.service)?", fullmatch=True))
def test_accepted_name_is_a_unit_name_and_stays_so(name: str) -> None:
    try:
        full = full_name(name)
    except HostError:
        return
    assert VALID.fullmatch(full)
    assert full_name(full) == full


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nginx.service", "nginx_2eservice"),
        ("1password.service", "_31password_2eservice"),
        ("ntp2.socket", "ntp2_2esocket"),
        ("getty@tty1.service", "getty_40tty1_2eservice"),
        ("a_b-c.timer", "a_5fb_2dc_2etimer"),
        ("x\\x2dy:z.service", "x_5cx2dy_3az_2eservice"),
    ],
)
def test_the_path_of_a_unit_is_its_name_escaped_as_systemd_does_it(name: str, path: str) -> None:
    assert escaped(name) == path
