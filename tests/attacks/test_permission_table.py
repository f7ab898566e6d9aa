"""Everything that the generated configuration of NATS grants is in one table, which a person wrote.

The tests of refused uses take the rights of each party from the registry of subjects. So a right that is added there by
mistake passes all of them, and has to be added here as well, beside what docs/threat-model.md says of the key.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from writ_bus.grammar import matches
from writ_nats_server.config import render
from writ_testing.peers.nats_server import WritServer

TABLE = Path(__file__).with_name("permissions.txt")
SCANNER, PRINCIPAL = "REQ_trivy", "REQ_alice"


def accounts_of(folder: Path) -> dict[str, Any]:
    """Return the accounts of an installation with one party of each kind; the scanner is a principal, too."""
    server = WritServer(folder, ["alice", "trivy"], ["a"], ["trivy"], ["one"], {"mcp": ["alice"]})
    text = render(server.plan).partition("\naccounts: ")[2].partition("\nsystem_account: ")[0]
    return dict(json.loads(text))


def granted(account: dict[str, Any]) -> Iterator[str]:
    """Yield what the users of an account may do, and what a reply subject of their choice reaches besides."""
    (user,) = account["users"]
    permissions = user.get("permissions", {"publish": {"allow": [">"]}, "subscribe": {"allow": [">"]}})
    published, heard = permissions["publish"], permissions["subscribe"]["allow"]
    yield from (f"publish {one}" for one in published["allow"])
    yield from (f"publish not {one}" for one in published.get("deny", ()))
    yield from (f"subscribe {one}" for one in heard)
    if "allow_responses" in permissions:
        yield f"reply {permissions['allow_responses']['max']} time to each message"
    for one in account["imports"]:
        kind = "service" if "service" in one else "stream"
        subject = one.get("to", one[kind]["subject"])
        if not any(matches(wide, subject) for wide in (published["allow"] if kind == "service" else heard)):
            yield f"import {kind} {one[kind]['account']} {subject}"
    yield from (f"export to all {one}" for one in account["exports"] if not one.get("accounts"))


def test_configuration_grants_what_the_table_has_and_nothing_else(tmp_path: Path) -> None:
    accounts = accounts_of(tmp_path)
    rights = {name: set(granted(account)) for name, account in accounts.items()}
    rights[SCANNER] -= {line.replace("alice", "trivy") for line in rights[PRINCIPAL]}
    found = {f"{name} {line}" for name, lines in rights.items() for line in lines}
    expected = set(TABLE.read_text().splitlines())
    assert sorted(found - expected) == [], "granted, and not in permissions.txt"
    assert sorted(expected - found) == [], "in permissions.txt, and not granted"


def test_each_account_has_the_users_of_one_party_alone(tmp_path: Path) -> None:
    accounts = accounts_of(tmp_path)
    keys = [user["nkey"] for account in accounts.values() for user in account["users"]]
    assert len(keys) == len(set(keys)) == len(accounts)
