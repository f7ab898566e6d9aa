"""Values that an agent or a requester chose, for `Screen.fields`."""

from typing import Any, cast

from writ_cli.terminal.item_tables import is_table
from writ_cli.terminal.output import shown
from writ_cli.terminal.quoted_text import QuotedItems, QuotedText


def quoted(value: object) -> object:
    """Return the value as quoted text or rows. Else a part of it can look like another line; but for a number, which
    may be a time.
    """
    if is_table(value):
        return QuotedItems(cast("list[dict[str, Any]]", value))
    return value if isinstance(value, int | float) or value in (None, "", [], {}) else QuotedText(shown(value))
