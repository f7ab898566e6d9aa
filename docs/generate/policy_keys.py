"""docs/policy-keys.md: every key of the policy format, from the structs that read it."""

import inspect
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

from writ_rules.engine.policy_file import format as policy_format

HEAD = """\
# Keys of the policy file

Each key with its type and what holds without it. What they mean together, and how a decision comes about, is in
[policy.md](policy.md).

*Made from the structs of `writ_rules.engine.policy_file.format` by `make docs`.*
"""

PLACES: tuple[tuple[str, type[Struct]], ...] = (
    ("`policies`", policy_format.PolicyEntry),
    ("`groups`", policy_format.GroupsEntry),
    ("a rule", policy_format.RuleEntry),
    ("a constraint: `parameter_constraints.<parameter>`", policy_format.Constraint),
    ("a window: `time_restrictions[]`", policy_format.WindowEntry),
    ("a maintenance window: `maintenance_windows[]`", policy_format.MaintenanceWindow),
    ("`approval`", policy_format.ApprovalEntry),
    ("a step: `approval.steps[]`", policy_format.StepEntry),
    ("an attribute's constraint: `target_attributes.<name>`", policy_format.AttributeConstraint),
    ("a scan: `scans[]`", policy_format.ScanEntry),
    ("an evaluator with options: `evaluators[]`", policy_format.EvaluatorEntry),
    ("`emergencies`", policy_format.EmergenciesEntry),
    ("`approval_windows`", policy_format.ApprovalWindowsEntry),
    ("`sessions`", policy_format.SessionsEntry),
)
NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}


def document() -> str:
    """Return the document as Markdown."""
    return "\n".join([HEAD, *(_table(title, kind) for title, kind in PLACES)])


def _table(title: str, kind: type[Struct]) -> str:
    hints = get_type_hints(kind, include_extras=True)
    said = inspect.getdoc(kind) or ""
    lines = [
        f"\n## {title[0].upper()}{title[1:]}\n",
        said,
        "",
        "| key | type | without it | meaning |",
        "|---|---|---|---|",
    ]
    for field in fields(kind):
        hint = hints[field.name]
        meaning = " ".join(_descriptions(hint)).replace("|", "\\|")
        lines.append(f"| `{field.encode_name}` | {type_of(hint)} | {default_of(field)} | {meaning} |")
    return "\n".join(lines)


def _descriptions(hint: Any) -> list[str]:
    """Return the descriptions of a field: its own, or those of the arms of a union without one."""
    own = [
        meta.description for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta) and meta.description
    ]
    if own or get_origin(hint) not in (Union, UnionType):
        return own
    return [said for arm in get_args(hint) for said in _descriptions(arm)]


def type_of(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [meta for meta in hint.__metadata__ if isinstance(meta, Meta)]
        bounds = [
            f"{meta.ge} to {meta.le}" if meta.le is not None else f"from {meta.ge}"
            for meta in limits
            if meta.ge is not None
        ]
        return " ".join([type_of(arguments[0]), *bounds])
    if origin in (Union, UnionType):
        text = " or ".join(dict.fromkeys(type_of(arm) for arm in arguments if arm is not NoneType))
        return text.replace(_SCALAR, "single value")
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (list, tuple):
        return f"list of {type_of(arguments[0])}"
    if origin is dict:
        return f"mapping to {type_of(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _titles.get(hint, "mapping")
    return NAMES[hint]


_SCALAR = "text or whole number or number or true or false"
_titles = {kind: title.partition(":")[0] for title, kind in PLACES}


def default_of(field: FieldInfo) -> str:
    if field.required:
        return "**required**"
    default = field.default if field.default is not msgspec.NODEFAULT else None
    if default is None or default == "":
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"
