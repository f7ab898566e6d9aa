"""The setting of decisions: a policy, targets and principals by name, and one question by names.

The files are read here just as the services read them, so a decision without a server equals that of the policy
service, except for stops and signatures.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.operations import Catalogue
from writ_contracts.people.persons import person_of
from writ_documents import yaml_file
from writ_documents.document import Document, FileProblem
from writ_documents.readers import read_inventory, read_people
from writ_rules.engine.checked_request import checked_request
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import People, Ruling, decide
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.people import people_of
from writ_rules.loading import Mode, compile_document


class AccessQuestion(Struct, frozen=True, kw_only=True):
    """A question: may this principal do this operation there, at this instant (Unix seconds)? `approvals`: the
    approvers, in order.

    `emergency`: true if one for the target is in force; None: as in the control state.
    """

    principal: str
    operation: str
    target: str
    at: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    approvals: tuple[str, ...] = ()
    emergency: bool | None = None
    facts: Facts = NO_FACTS
    own: bool = False
    """True for a control operation on something of the principal's own."""


class Setting(Struct, frozen=True, eq=False, kw_only=True):
    """A policy with its targets and principals, and the control state at the time. `label` names the policy to people,
    where its own name doesn't identify the version.
    """

    policy: Policy
    catalogue: Catalogue
    targets: Mapping[str, Target]
    principals: Mapping[str, Principal]
    people: People
    control: ControlState = ControlState()
    label: str = ""

    def request(self, question: AccessQuestion) -> DecisionRequest:
        """Resolve the names of a question. Raises Invalid for an unknown name or bad parameters."""
        operation = self.catalogue.find(question.operation)
        target = self.targets.get(question.target)
        if target is None:
            raise Invalid(f"no target {question.target!r} in the inventory", code="unknown_target")
        principal = self.principals.get(question.principal)
        if principal is None:
            raise Invalid(f"no principal {question.principal!r}", code="unknown_principal")
        request = checked_request(
            operation,
            target,
            principal,
            question.parameters,
            at=question.at,
            dry_run=question.dry_run,
            person=person_of(principal.id, self.principals),
        )
        return structs.replace(request, approvals=question.approvals, emergency=question.emergency, own=question.own)

    def decide(self, question: AccessQuestion) -> Ruling:
        """Return the decision. Raises Invalid."""
        return decide(self.policy, self.request(question), self.control, self.people, question.facts)


def setting(
    policy: Policy, catalogue: Catalogue, targets: Iterable[Target], principals: Iterable[Principal]
) -> Setting:
    """Return a setting; `writ` itself is always a target."""
    listed = list(principals)
    return Setting(
        policy=policy,
        catalogue=catalogue,
        targets={**{target.id: target for target in targets}, WRIT_TARGET: WRIT},
        principals={principal.id: principal for principal in listed},
        people=people_of(listed),
    )


class PolicySource(Struct, frozen=True, eq=False):
    """A policy with its source document and the warnings of lint."""

    document: Document
    policy: Policy
    warnings: list[FileProblem]


def read_policy(path: Path, catalogue: Catalogue, mode: Mode) -> PolicySource:
    """Read the policy in a file. Raises FileErrors with all its mistakes."""
    document = yaml_file.read(path)
    return PolicySource(document, *compile_document(document, catalogue, mode))


def read_setting(policy: Policy, catalogue: Catalogue, inventory: Path, principals: Path) -> Setting:
    """Return the setting of a policy with the targets and principals of these files. Raises ConfigError."""
    listed = read_inventory(inventory).targets
    return setting(policy, catalogue, listed, read_people(principals).principals)
