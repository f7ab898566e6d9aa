"""Targets by name, glob, role and tag. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from writ_contracts.bounds import first_names
from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near, near_glob
from writ_contracts.requests import TargetView


class TargetSelector(Struct, frozen=True, kw_only=True):
    """Several values of one kind are "or", several kinds are "and"; an empty kind does not restrict."""

    globs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def of(self, known: Sequence[TargetView]) -> list[str]:
        """Return the ids of the targets, sorted. Raises Invalid (`unknown_target`) for a value which covers none."""
        ids, roles = [target.id for target in known], sorted({target.role for target in known})
        tags = sorted({tag for target in known for tag in target.tags})
        for kind, values, covers, names in (
            ("target", self.globs, _named, ids),
            ("target of role", self.roles, _has_role, roles),
            ("target with tag", self.tags, _has_tag, tags),
        ):
            for value in values:
                if not any(covers(target, value) for target in known):
                    similar = near_glob if kind == "target" else near
                    hint = similar(value, names) or _others(kind, names)
                    text = f"there is no {kind} {value!r} in the inventory{hint}"
                    raise Invalid(text, code="unknown_target")
        chosen = sorted(target.id for target in known if self._covers(target))
        if not chosen:
            raise Invalid("no target matches all of the given conditions", code="unknown_target")
        return chosen

    def _covers(self, target: TargetView) -> bool:
        return (
            any(_named(target, glob) for glob in self.globs or ("*",))
            and (not self.roles or target.role in self.roles)
            and (not self.tags or any(_has_tag(target, tag) for tag in self.tags))
        )


def _others(kind: str, names: Sequence[str]) -> str:
    """Return the roles or tags that targets have. Names of targets are too many."""
    return f"; there are {first_names(names, most=10)}" if names and kind != "target" else ""


def _named(target: TargetView, glob: str) -> bool:
    return fnmatchcase(target.id, glob)


def _has_role(target: TargetView, role: str) -> bool:
    return target.role == role


def _has_tag(target: TargetView, tag: str) -> bool:
    return tag in target.tags
