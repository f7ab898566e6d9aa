"""Writ: the rules as a policy file, read by the real loader. Each decision has the trace of every rule considered."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.peers.engine import Loaded
from bench.peers.model import Question, Rule
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import Ruling, decide
from writ_rules.loading import compile_document

NAME = "Writ"
ANSWER = "answers with the rules that decided, a reason, the effective parameters and every rule considered"
LARGEST = 10_000_000
NOON = 1_795_521_600.0
HEAD = """\
policies:
  name: peers
  require_approval_for_admin: false
  global_policies:
"""
OF_ONE: Mapping[str, Mapping[str, Any]] = {"guest_resize": {"disk": "scsi0", "size": 32}}
NEEDED: Mapping[str, str] = {
    "service_name": "nginx",
    "container_name": "web",
    "image": "nginx:1.29",
    "stack_name": "shop",
    "compose": "services: {}",
    "backup_id": "nightly",
    "snapshot_name": "before",
    "guest_name": "web",
    "node": "pve1",
    "target_node": "pve2",
    "template": "debian-13",
    "upid": "UPID:pve1:0001A2B3:0123ABCD:65F0A1B2:qmstart:100:root@pam!writ:",
    "file_path": "/srv/app/notes",
    "source_path": "/srv/app/notes",
    "dest_path": "/srv/app/copy",
    "content": "words",
    "host": "localhost",
    "cidr": "192.0.2.0/28",
    "package_name": "curl",
}
"""A value for each parameter that an operation can't do without, and for `stack_deploy` its `compose`."""


class InProcess:
    """The engine of the policy service and the command."""

    name = NAME
    answer = ANSWER

    def __init__(self) -> None:
        self._catalogue = Catalogue(BUILT_IN)

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return the policy as the service reads it, except for the limit on a file's size.

        Rules drawn at random make some others redundant, which `strict` would refuse.
        """
        document = yaml_file.parse(policy_file(rules).encode(), "policy.yaml", largest=LARGEST)
        policy, _ = compile_document(document, self._catalogue, "permissive")
        control = ControlState()
        return Loaded(self.request, lambda request: _allows(decide(policy, request, control)))

    def request(self, question: Question) -> DecisionRequest:
        """Return the request, with parameters checked against the catalogue."""
        operation = self._catalogue[question.operation]
        requested = parameters(self._catalogue, question)
        return DecisionRequest(
            operation=operation,
            target=Target(id=f"a-{question.target}", role=question.target, backend="local", docker={}),
            principal=Principal(id=question.caller, kind="human", key="U" + "A" * 55, roles=[question.caller]),
            parameters=requested,
            effective=operation.check(requested),
            at=NOON,
        )


def policy_file(rules: Sequence[Rule]) -> str:
    """Return the rules as a person would write them, one a line."""
    return HEAD + "".join(f"    - {_line(rule)}\n" for rule in rules)


def parameters(catalogue: Catalogue, question: Question) -> dict[str, Any]:
    """Return the parameters that a caller would give, with the timeout of the question."""
    names = catalogue[question.operation].parameters.__struct_fields__
    needed = {name: value for name, value in NEEDED.items() if name in names}
    return {**needed, **OF_ONE.get(question.operation, {}), "timeout": question.timeout}


def _line(rule: Rule) -> str:
    allowed = str(rule.allowed).lower()
    return (
        f"{{name: {rule.name}, operations: [{rule.operation}], target_roles: [{rule.target}], "
        f"user_roles: [{rule.caller}], allowed: {allowed}, parameter_constraints: {{timeout: {{max: {rule.limit}}}}}}}"
    )


def _allows(ruling: Ruling) -> bool:
    """Return whether the request is allowed. The whole trace is made too, as the other engines make theirs."""
    list(ruling.trace)
    return ruling.effect == "allow"
