"""Advice for keys of an older format, and for those of other formats."""

from collections.abc import Mapping

Instead = Mapping[str, str]
"""The advice by the key."""
LEAVE_OUT = "it has no effect; leave it out"
LIMITS: Instead = {
    **dict.fromkeys(("min_value", "minimum", "ge", "gte"), "write 'min'"),
    **dict.fromkeys(("max_value", "maximum", "le", "lte"), "write 'max'"),
    **dict.fromkeys(("regex", "regexp", "match", "matches"), "write 'pattern', which covers the whole string"),
    **dict.fromkeys(("enum", "one_of", "choices", "options", "in"), "write 'allowed_values'"),
    **dict.fromkeys(("not_in", "none_of", "forbidden"), "write 'denied_values'"),
}
CONSTRAINTS: Instead = {
    **LIMITS,
    **dict.fromkeys(("min_items", "min_size"), "write 'min_length'"),
    **dict.fromkeys(("max_items", "max_size"), "write 'max_length'"),
    "default_value": "write 'default'",
}
