"""Large texts that came attached to a claim's reply are opened only as they were sealed."""

from typing import Any

import pytest

from writ_agent.verification import with_texts
from writ_contracts.agents import SealedParameters
from writ_contracts.errors import Invalid, Untrusted
from writ_trust.sealing import encrypt_once

KEY = "ab" * 32


def sealed(texts: list[tuple[str, int]], **more: Any) -> SealedParameters:
    return SealedParameters(parameters={"file_path": "/f"}, parameters_key=KEY, texts=texts, **more)


def test_attached_texts_are_opened_in_their_order() -> None:
    key, encrypted = encrypt_once("añb".encode())
    found = with_texts(sealed([("b", 3), ("a", 1)], texts_key=key.hex(), given_texts=["a"]), encrypted)
    assert (found.parameters, found.given) == ({"file_path": "/f", "b": "añ", "a": "b"}, {"a": "b"})


def test_parameters_without_attached_texts_stay_unchanged() -> None:
    assert with_texts(sealed([]), b"anything") == sealed([])


@pytest.mark.parametrize(
    ("texts", "given"),
    [
        ([], []),
        ([("a", 1)], []),
        ([("a", 3)], []),
        ([("a", -1), ("b", 3)], []),
        ([("a", 1), ("a", 1)], []),
        ([("file_path", 2)], []),
        ([("a", 2)], ["b"]),
    ],
)
def test_texts_of_other_names_or_sizes_are_refused(texts: list[tuple[str, int]], given: list[str]) -> None:
    key, encrypted = encrypt_once(b"ab")
    with pytest.raises(Invalid):
        with_texts(sealed(texts, texts_key=key.hex(), given_texts=given), encrypted)


def test_texts_under_another_key_are_refused() -> None:
    key, _ = encrypt_once(b"ab")
    with pytest.raises(Untrusted):
        with_texts(sealed([("a", 2)], texts_key=key.hex()), encrypt_once(b"ab")[1])


def test_attached_text_that_ends_within_a_character_is_refused() -> None:
    key, encrypted = encrypt_once("é".encode())
    with pytest.raises(Invalid):
        with_texts(sealed([("a", 1), ("b", 1)], texts_key=key.hex()), encrypted)
