"""The descriptor of a plugin: its API version, its names, and which built-in operations its backends carry out.

It is a small module of its own in the package, so that a plugin is listed without importing what carries anything out.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

WRIT_PLUGIN_API = 1
"""The version of what plugins and Writ agree on. It grows when a plugin of before could do harm or break."""

Prefix = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{1,31}(?!\n)$")]
Variable = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{2,63}(?!\n)$")]


class Plugin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prefixes`: its operations, evaluators and backends are named `prefix` or `prefix_…`. `serves`: built-in
    operations by backend of its own. `configuration`: environment variables that it reads, with their purpose.
    """

    api: int
    prefixes: Annotated[tuple[Prefix, ...], Meta(min_length=1, max_length=8)]
    summary: str = ""
    serves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    configuration: Mapping[Variable, str] = field(default_factory=dict)

    def owns(self, name: str) -> bool:
        """Return whether a name is one of its own."""
        return any(name == prefix or name.startswith(f"{prefix}_") for prefix in self.prefixes)
