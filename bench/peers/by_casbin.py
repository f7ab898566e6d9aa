"""Casbin: one policy line a rule and one matcher, with the plain enforcer and with the one that keeps an index."""

from collections.abc import Sequence
from typing import Any

from bench.peers.engine import Loaded, module
from bench.peers.model import Question, Rule

MODEL = """
[request_definition]
r = operation, target, caller, timeout
[policy_definition]
p = operation, target, caller, limit, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.operation == p.operation && r.target == p.target && r.caller == p.caller && r.timeout <= number(p.limit)
"""
INDEXED = [0, 1, 2]


class Plain:
    """The plain enforcer, which reads every line."""

    name = "Casbin (pycasbin)"
    answer = "answers with allowed or not; looks at every line"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return the ordinary enforcer."""
        casbin = module("casbin")
        return _loaded(casbin, casbin.Enforcer, casbin.Model(), rules)


class Fast:
    """The fast enforcer, which reads the lines of one operation and both roles."""

    name = "Casbin FastEnforcer (pycasbin)"
    answer = "as Casbin, with its index over operation and both roles"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return the enforcer with `cache_key_order`."""
        casbin = module("casbin")

        def enforcer(model: Any) -> Any:
            return casbin.FastEnforcer(model, cache_key_order=INDEXED)

        return _loaded(casbin, enforcer, module("casbin.model").FastModel(INDEXED), rules)


def _loaded(casbin: Any, enforcer_of: Any, model: Any, rules: Sequence[Rule]) -> Loaded:
    model.load_model_from_text(MODEL)
    enforcer = enforcer_of(model)
    enforcer.add_function("number", lambda text: int(text) if text else 0)
    for rule in rules:
        effect = "allow" if rule.allowed else "deny"
        line = [rule.operation, rule.target, rule.caller, str(rule.limit), effect]
        casbin.persist.load_policy_line(", ".join(["p", *line]), model)
    return Loaded(_request, lambda request: bool(enforcer.enforce(*request)))


def _request(question: Question) -> tuple[str, str, str, int]:
    return question.operation, question.target, question.caller, question.timeout
