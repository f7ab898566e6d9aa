"""Values that an agent or a requester chose, for `Screen.fields`."""

from typing import Any, cast

from writ_cli.terminal.item_tables import is_table
from writ_cli.terminal.output import shown
from writ_cli.terminal.quoted_text import QuotedItems, QuotedText, QuotedTexts


def is_texts(value: object) -> bool:
    """Return whether a value is a list of texts, such as the commands of a preview."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def quoted(value: object) -> object:
    """Return the value as quoted text, texts or rows. Else a part of it can look like another line; but for a number,
    which may be a time.
    """
    if is_table(value):
        return QuotedItems(cast("list[dict[str, Any]]", value))
    if is_texts(value):
        return QuotedTexts(cast("list[str]", value))
    return value if isinstance(value, int | float) or value in (None, "", [], {}) else QuotedText(shown(value))
