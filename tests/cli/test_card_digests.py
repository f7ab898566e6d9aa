"""Digests on approval cards: the plain ones of verified details, which an approver compares with a file."""

import pytest
from msgspec import structs
from tests.cli.test_approval_cards import card_rows, previewed


@pytest.mark.parametrize(
    ("details", "line"),
    [
        ({"digest_after": "plain", "diff": "+x"}, "would digest_after: plain"),
        (None, "would digest_after (keyed): recorded"),
    ],
    ids=["with", "without"],
)
def test_card_shows_digests_of_verified_details_and_else_says_that_they_are_keyed(
    details: dict[str, str] | None, line: str
) -> None:
    card = previewed({"would": "replace", "digest_after": "recorded"})
    assert card.preview is not None
    decision = structs.replace(card.decision, operation="file_copy")
    shown = structs.replace(card, decision=decision, preview=structs.replace(card.preview, details=details))
    assert line in [one.strip() for one in card_rows(shown, 200)]
