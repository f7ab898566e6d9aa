"""`writ policy diff` of two files with 1,000 rules, of which 1, 100 or 1,000 changed, by the clause that differs.

Of the shapes `users or targets`, one half differs by `users` and the other by `targets`, so each rule of one half meets
each of the other. Changed rules have the opposite effect; with `approvals` they need that of another role.

Bar: 3 s of processor time, the start of the command included. The peer is the same command on two equal files, which
loads both and compares nothing. Times are those of the whole process, user and system, the best of some rounds.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from bench.policy_shapes import OPERATIONS, rules
from writ_documents import yaml_file
from writ_rules.engine.policy_file.format import ApprovalEntry, PolicyDocument, PolicyEntry, RuleEntry

RULES, CHANGED, ROUNDS = 1_000, (1, 100, 1_000), 3
MIXED, APPROVALS = "users or targets", "users or targets: approvals"
SHAPES = (
    *("allowed_values", "targets: globs", "pattern", "target_tags", "target_attributes", "users", "all of them"),
    *(MIXED, APPROVALS),
)
WRIT = Path(sys.executable).with_name("writ")


class Row(Struct, frozen=True):
    """The seconds of one comparison, of the same with equal files, and of the command that only starts."""

    shape: str
    changed: int
    seconds: float
    equal: float
    start: float


async def run() -> list[Row]:
    """Measure each shape with each number of changed rules."""
    with tempfile.TemporaryDirectory() as name:
        return [row for shape in SHAPES for row in _measured(shape, Path(name))]


def table(rows: list[Row]) -> str:
    """Return the table as Markdown, with the ratio to the command on equal files."""
    lines = ["| differ by | changed | s | of equal files | equal files s | start s |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.shape} | {row.changed} | {row.seconds:.2f} | {row.seconds / row.equal:.1f} | {row.equal:.2f} "
        f"| {row.start:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _measured(shape: str, folder: Path) -> list[Row]:
    entries = _mixed(shape) if shape in (MIXED, APPROVALS) else rules(shape, RULES)
    old = _file(folder / "old.yaml", entries)
    new = {many: _file(folder / f"{many}.yaml", [*map(_turned, entries[:many]), *entries[many:]]) for many in CHANGED}
    start, equal = _seconds("--help"), _seconds(str(old), str(old))
    return [Row(shape, many, _seconds(str(old), str(file)), equal, start) for many, file in new.items()]


def _mixed(shape: str) -> list[RuleEntry]:
    approval = ApprovalEntry(approvers=["lead"]) if shape == APPROVALS else None
    return [
        RuleEntry(
            name=f"rule-{at}",
            allowed=True,
            operations=[OPERATIONS[at // 2 % len(OPERATIONS)]],
            target_roles=["production", "staging"],
            approval=approval,
            users=[f"user-{at}"] if at % 2 else None,
            targets=None if at % 2 else [f"app{at}-*"],
        )
        for at in range(RULES)
    ]


def _turned(rule: RuleEntry) -> RuleEntry:
    """Return the rule with the opposite effect, or with the approval of another role."""
    if rule.approval is not None:
        return structs.replace(rule, approval=ApprovalEntry(approvers=["security"]))
    return structs.replace(rule, allowed=not rule.allowed, requires_approval=False)


def _file(path: Path, entries: list[RuleEntry]) -> Path:
    document = PolicyDocument(policies=PolicyEntry(name="bench", global_policies=[*entries]))
    plain = msgspec.to_builtins(document)
    path.write_text(yaml_file.dump(_without_nulls(plain)))
    return path


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(held) for key, held in value.items() if held is not None}
    return [_without_nulls(held) for held in value] if isinstance(value, list) else value


def _seconds(*arguments: str) -> float:
    """Return the processor time of the best round."""
    rounds = []
    for _ in range(ROUNDS):
        before = os.times()
        subprocess.run([WRIT, "policy", "diff", *arguments], check=True, stdout=subprocess.DEVNULL, timeout=300)
        after = os.times()
        rounds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(rounds)
