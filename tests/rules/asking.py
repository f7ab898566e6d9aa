"""Short helpers that make policies of a few rules, and requests that they decide."""

from datetime import datetime
from typing import Any

from msgspec import structs

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import WRIT, Principal, Role, Target
from writ_contracts.journal import ControlEvent
from writ_contracts.operations import Catalogue
from writ_documents import shapes, yaml_file
from writ_documents.document import FileErrors
from writ_documents.readers import NOBODYS_KEY as NOBODYS_KEY
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import People, Ruling, decide
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.loading import compile_document

CATALOGUE = Catalogue(BUILT_IN)
ALICE = Principal(id="alice", kind="human", key=NOBODYS_KEY, roles=["operator"])
NOON = "2026-11-24T12:00:00Z"  # a Tuesday


def policy(**sections: Any) -> Policy:
    """Return a policy with these keys, as a file would have it, even against lint."""
    return loaded(yaml_file.dump({"policies": {"name": "test", **sections}}), "permissive")


def loaded(text: str | bytes, mode: Any = "strict") -> Policy:
    raw = text if isinstance(text, bytes) else text.encode()
    return compile_document(yaml_file.parse(raw, "policy.yaml"), CATALOGUE, mode)[0]


def file_of(**sections: Any) -> PolicyDocument:
    """A policy file of these keys, not compiled."""
    text = yaml_file.dump({"policies": {"name": "test", **sections}})
    return shapes.convert(yaml_file.parse(text.encode(), "policy.yaml"), PolicyDocument)


def refused(text: str | bytes, mode: Any = "strict") -> list[str]:
    """Return the error of a file."""
    try:
        loaded(text, mode)
    except FileErrors as errors:
        return [str(problem) for problem in errors.found]
    return []


def warned(text: str, mode: Any = "strict") -> list[str]:
    """Return the warnings of a file that loads."""
    document = yaml_file.parse(text.encode(), "policy.yaml")
    return [str(problem) for problem in compile_document(document, CATALOGUE, mode)[1]]


def written(*lines: str) -> str:
    """A file with one rule and these further lines, the first of which is line 6."""
    head = [
        "policies:",
        "  global_policies:",
        "    - name: a",
        "      operations: [service_restart]",
        "      allowed: true",
    ]
    return "\n".join([*head, *(f"      {line}" for line in lines)])


def rule(name: str, *operations: str, allowed: bool = True, **keys: Any) -> dict[str, Any]:
    return {"name": name, "operations": list(operations), "allowed": allowed, **keys}


def control(kind: str, body: dict[str, Any], *, id: str = "stop-1") -> ControlEvent:
    return ControlEvent(id=id, at=0, correlation_id="c", kind=kind, principal="alice", operation_id="a" * 26, body=body)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class World:
    """The default principal and target; each question may replace them."""

    def __init__(
        self,
        policy: Policy,
        *,
        people: People | dict[str, tuple[str, ...]] | None = None,
        control: ControlState | None = None,
    ) -> None:
        self.policy = policy
        self.people = people if isinstance(people, People) else People(roles=people or {})
        self.control = control or ControlState()

    def ask(
        self,
        operation: str = "service_restart",
        *,
        role: Role = "production",
        target: dict[str, Any] | None = None,
        who: dict[str, Any] | None = None,
        now: str = NOON,
        dry_run: bool = False,
        own: bool = False,
        approvals: tuple[str, ...] = (),
        emergency: bool | None = None,
        facts: Facts = NO_FACTS,
        **parameters: Any,
    ) -> Ruling:
        definition = CATALOGUE[operation]
        if operation.startswith("service_") and not parameters.get("service_name"):
            parameters["service_name"] = "nginx"
        effective = definition.check(parameters)
        principal = Principal(
            **{"id": "alice", "kind": "human", "key": NOBODYS_KEY, "roles": ["operator"], **(who or {})}
        )
        aim = WRIT if definition.control else Target(id="web-1", role=role, backend="local")
        request = DecisionRequest(
            operation=definition,
            target=structs.replace(aim, **(target or {})),
            principal=principal,
            parameters={name: effective[name] for name in parameters if name in effective},
            effective=effective,
            at=at(now),
            dry_run=dry_run,
            own=own,
            approvals=approvals,
            emergency=emergency,
        )
        return decide(self.policy, request, self.control, self.people, facts)
