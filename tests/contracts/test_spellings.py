"""Each value has one spelling, so another spelling cannot bypass a policy."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_testing.each_case import each_case

CATALOGUE = Catalogue(BUILT_IN)
CORPUS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "spellings.yaml").read_text())


def rows(key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each spelling's operation and request."""
    for kind in CORPUS:
        for group in kind["spellings"]:
            for value in [group["one"]] if key == "one" and "one" in group else group["others"] * (key == "others"):
                argument = [value] if kind.get("list") else value
                request = {**kind.get("others", {}), kind["parameter"]: argument}
                yield kind["operation"], request


@each_case(("operation", "request_"), rows("one"))
def test_canonical_spelling_is_accepted_unchanged(operation: str, request_: dict[str, Any]) -> None:
    taken = CATALOGUE[operation].check(request_)
    assert {name: taken[name] for name in request_} == request_


@each_case(("operation", "request_"), rows("others"))
def test_other_spelling_is_refused(operation: str, request_: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        CATALOGUE[operation].check(request_)
    assert refused.value.code == "invalid_parameters"


def taken(host: str) -> bool:
    try:
        CATALOGUE["network_test"].check({"host": host})
    except Invalid:
        return False
    return True


WITH_IPV4 = [ip_network(one) for one in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2002::/16")]


def has_ipv4_within(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in WITH_IPV4) or (address.version == 6 and 1 < int(address) < 1 << 32)


@given(st.ip_addresses())
def test_address_is_accepted_in_its_canonical_text_alone(address: IPv4Address | IPv6Address) -> None:
    text = str(address)
    if not has_ipv4_within(address):
        assert taken(text)
    else:
        assert not taken(text)
    assert not taken(address.exploded) or address.exploded == text
    assert not taken(str(int(address)))
    assert not taken(hex(int(address)))
