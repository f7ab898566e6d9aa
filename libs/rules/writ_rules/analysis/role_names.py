"""Roles of principals that a policy names: in the scopes of its rules and in its approvals."""

from collections.abc import Iterator

from writ_rules.engine.policy_file.format import ApprovalEntry, PolicyDocument, present
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.rules.obligations import APPROVER


def named_roles(file: PolicyDocument) -> frozenset[str]:
    """Return the roles of principals that some rule names, `approver` always among them."""
    rules = [item.entry for item in placed(file.policies)]
    scopes = (role for rule in rules for role in present(rule.user_roles))
    approvals = (role for rule in rules if rule.approval is not None for role in _approvers(rule.approval))
    return frozenset((APPROVER, *scopes, *approvals))


def _approvers(approval: ApprovalEntry) -> Iterator[str]:
    yield from present(approval.approvers)
    for step in present(approval.steps):
        yield from present(step.approvers)
