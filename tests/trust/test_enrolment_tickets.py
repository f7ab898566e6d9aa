"""Tokens for the enrolment of a host: each field that becomes a line of the agent's environment is of its kind."""

import base64

import pytest

from writ_contracts.errors import Invalid
from writ_contracts.wire import encode
from writ_trust.enrolment_tickets import HEAD, Ticket, read_ticket
from writ_trust.keys import Key, generate_seed

SEED = generate_seed().decode()
KEY = Key(SEED.encode(), "").public


def token(people_key: str) -> str:
    ticket = Ticket(
        token="a" * 26,
        seed=SEED,
        pool="a",
        url="nats://writ.example:4222",
        policy_key=KEY,
        people_key=people_key,
        installation="a" * 26,
    )
    return HEAD + base64.urlsafe_b64encode(encode(ticket)).decode()


@pytest.mark.parametrize("people_key", ["", KEY], ids=["without", "with"])
def test_token_without_or_with_a_people_key_is_read(people_key: str) -> None:
    assert read_ticket(token(people_key)).people_key == people_key


def test_a_token_whose_people_key_is_more_than_a_key_is_none() -> None:
    """systemd reads the environment as root."""
    with pytest.raises(Invalid, match="no valid people-key"):
        read_ticket(token(f"{KEY}\nLD_PRELOAD=/tmp/x.so"))
