"""Characters that a person does not see, for all that shows text of hosts or requesters. Pure.

A reader of an approval, a record or a tool's result must see what is there: a filler can be a name in a program, and a
row of variation selectors can carry a text for a language model.
"""

import re
from collections.abc import Callable

# Control characters but tab and newline; characters without a glyph (Unicode's Default_Ignorable_Code_Point): zero
# width, bidirectional, fillers, Unicode tags, and variation selectors, each of which can be a byte. A selector that
# follows an emoji stays. U+2800, a Braille cell without dots, is a space at which no terminal breaks a line.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]|(?:^|(?<=[^#*0-9\x80-\U0010ffff]|[\ufe00-\ufe0f]))[\ufe0e\ufe0f]"
)


def spelled_out(text: str, spell: Callable[[str], str]) -> str:
    """Return the text with `spell(char)` in place of every invisible character; tab and newline stay."""
    return _INVISIBLE.sub(lambda found: spell(found.group()), text)
