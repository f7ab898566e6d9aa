"""A compiled policy in few bytes, as one process passes it to another.

It holds what a policy is compiled from, checked, with groups in place of their names and without disabled rules. So the
same code compiles the rules on both sides. What takes most time and memory is done before: to parse the document, to
find its mistakes, and to compile its patterns, of which a service compiles a small one on its first use.
"""

from collections.abc import Callable, Iterator
from mmap import mmap

from msgspec import Raw, Struct, msgpack, structs

from writ_contracts.ids import Digest
from writ_contracts.operations import Catalogue
from writ_documents.document import FileProblem
from writ_rules.engine.clauses.patterns import KEPT, LARGE, MOST_LATER, CheckedPattern
from writ_rules.engine.compile import Policy, PolicyParts
from writ_rules.engine.policy_file.format import PlacedRule, PolicyEntry
from writ_rules.engine.policy_file.groups import placed


class PreparedPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`digest` is that of the document, by which nobody uses it for another one. `entry` is the policy without its
    rules. `rules` are of `PlacedRule`. `warnings`: the findings of lint.
    """

    digest: Digest
    entry: PolicyEntry
    rules: list[Raw]
    patterns: list[CheckedPattern]
    excused: tuple[str, ...]
    warnings: list[FileProblem]


def prepared(policy: Policy, warnings: list[FileProblem], digest: Digest) -> bytes:
    """Return a policy that was compiled here from the document with this digest.

    Raises ValueError and OverflowError for values that MessagePack lacks.
    """
    entry = policy.source.policies
    rules = [Raw(msgpack.encode(item)) for item in placed(entry) if item.entry.enabled]
    without = structs.replace(entry, groups=None, global_policies=None, role_policies=None, emergency_policies=None)
    return msgpack.encode(
        PreparedPolicy(
            digest=digest,
            entry=without,
            rules=rules,
            patterns=KEPT.checked(),
            excused=policy.excused,
            warnings=warnings,
        )
    )


def policy_in(
    data: bytes | mmap, digest: Digest, catalogue: Catalogue, on_pattern: Callable[[int], None]
) -> tuple[Policy, list[FileProblem]]:
    """Return the prepared policy of the document with this digest, and its warnings. `on_pattern` receives the size of
    each large pattern once it is compiled.

    Raises ValueError and MsgspecError for that of another document, for one that another release prepared, and for one
    with an evaluator that this catalogue lacks. Operations of other plugins are no error here, as in stored versions.
    """
    known = msgpack.decode(data, type=PreparedPolicy)
    if known.digest != digest:
        raise ValueError("prepared from another document")
    later = 0
    for pattern in sorted(known.patterns, key=lambda one: one.size):
        later += pattern.size
        if KEPT.add(pattern, is_large=pattern.size >= LARGE or later > MOST_LATER):
            on_pattern(pattern.size)
    try:
        parts = PolicyParts(known.entry, _rules(known.rules), catalogue)
    finally:
        KEPT.drop_small()
    if parts.findings:
        raise ValueError(f"not prepared by this release: {parts.findings[0].message}")
    return structs.replace(parts.policy(None), excused=known.excused), known.warnings


def _rules(listed: list[Raw]) -> Iterator[PlacedRule]:
    """Decode each rule only when it is compiled, so that its temporary parts reuse the memory of the one before."""
    decoder = msgpack.Decoder(PlacedRule)
    return (decoder.decode(one) for one in listed)
