"""The reason of a failed deploy, without values of the stack that may be secret."""

import pytest

from writ_containers.compose.parse import parse
from writ_containers.stacks.failure_reason import how_ended

FILE = """
services:
  web:
    image: 'box:1'
    command: ['serve', '--password', 'correct horse battery']
    environment: {DEBUG: '1', DATABASE: 'postgres://me:hunter22@db/shop', KEY: "first line\\nsecond line"}
    labels: {owner: 'somebody-else'}
"""
MISSING = 'Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /srv/gone'


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (f" Network shop_default  Created\n{MISSING}\n\n", MISSING),
        ("dial postgres://me:hunter22@db/shop: refused", "dial <secret>: refused"),
        ("the password hunter22 is wrong", "the <secret> <secret> is wrong"),
        ("unknown option 'correct horse battery'", "unknown option '<secret>'"),
        ("KEY is 'second line'", "KEY is '<secret>'"),
        (
            "label somebody-else is taken, status 1 of box:1, 10 of 10",
            "label <secret> is taken, status <secret> of box:<secret>, 10 of 10",
        ),
        ("the token of-the-request is wrong", "the token <secret> is wrong"),
        ("\x1b[31mred\x07", "[31mred"),
        ("x" * 1000, "x" * 400),
    ],
)
def test_reason_of_compose_is_its_last_line_without_secret_values(output: str, reason: str) -> None:
    env = {"TOKEN": "of-the-request"}
    stack = parse(FILE, env, "shop")
    assert how_ended("docker compose", (1, output), stack, env) == f"docker compose ended with status 1 ({reason})"


@pytest.mark.parametrize("ended", [(0, "all is well"), (1, ""), (1, " \n")])
def test_success_or_silence_has_no_reason(ended: tuple[int, str]) -> None:
    assert (
        how_ended("docker compose", ended, parse(FILE, {}, "shop"), {})
        == f"docker compose ended with status {ended[0]}"
    )
