"""The person behind a principal: nobody approves their own request, under any name or key.

A human may have several principals (two keys, two roles) and any number of AI agents acting for them.
"""

from collections.abc import Mapping

from writ_contracts.inventory import Principal


def person_of(principal: str, principals: Mapping[str, Principal]) -> str:
    """Return the person behind this principal: as declared, else the one it acts for, else itself.

    An unknown principal is its own person. Where `acts_for` leads in a circle, all of the circle are one.
    """
    visited = {principal}
    while (entry := principals.get(principal)) is not None:
        if entry.person is not None or entry.acts_for is None:
            return entry.person or entry.id
        if entry.acts_for in visited:
            return min(visited)
        principal = entry.acts_for
        visited.add(principal)
    return principal


def same_person(a: str, b: str, principals: Mapping[str, Principal]) -> bool:
    """Return true if one person acts by both principals, directly or by AI agents."""
    return a == b or person_of(a, principals) == person_of(b, principals)
