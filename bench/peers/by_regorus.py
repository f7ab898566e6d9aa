"""Rego by regorus: a Rego rule for each rule, by its virtual machine and by its interpreter; and the rules as a table.

An author who optimises for speed would write the table: Rego finds operation and roles in it, and compares only the
limits of that entry.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.peers.engine import Loaded, Refused, module
from bench.peers.model import Question, Rule

HEAD = "package peers\nimport rego.v1\n"
DECISION = """
default decision := false
decision if { allow; not deny }
"""
NEVER = """
allow if { false }
deny if { false }
"""
A_MODULE = 2_000
"""Rules in one module. A module may have a megabyte, and a package many modules."""
LOOK_UP = """
place := data.table[input.operation][input.target][input.caller]
allow if { some limit in place.allow; input.timeout <= limit }
deny if { some limit in place.deny; input.timeout <= limit }
"""


class Rules:
    """Each rule is a rule of Rego."""

    name = "Rego rules, virtual machine"
    answer = "regorus; answers with allowed or not, nothing else; takes its input as JSON text"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return the rules compiled for the virtual machine. Raises Refused for more than its 65,535 instructions."""
        return _machine(_texts(rules), {})


class Interpreted:
    """The same text, for regorus's interpreter, which has no such limit."""

    name = "Rego rules, interpreter"
    answer = "regorus; as above, without a limit on the number of rules"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return one engine, queried for the one rule `decision`."""
        engine = module("regorus").Engine()
        for number, text in enumerate(_texts(rules)):
            engine.add_policy(f"part-{number}.rego", HEAD + text)

        def ask(request: str) -> bool:
            engine.set_input_json(request)
            return engine.eval_rule("data.peers.decision") is True

        return Loaded(_request, ask)


class Table:
    """The rules are data, indexed by hand on operation and both roles."""

    name = "Rego table, virtual machine"
    answer = "regorus; the rules as data, indexed by hand for this one shape of rule; answers with allowed or not"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return a table of three levels, with one lookup a decision."""
        table: dict[str, Any] = {}
        for rule in rules:
            place = table.setdefault(rule.operation, {}).setdefault(rule.target, {})
            limits = place.setdefault(rule.caller, {"allow": [], "deny": []})
            limits["allow" if rule.allowed else "deny"].append(rule.limit)
        return _machine([DECISION + LOOK_UP], {"table": table})


def _texts(rules: Sequence[Rule]) -> list[str]:
    parts = [rules[start : start + A_MODULE] for start in range(0, len(rules), A_MODULE)]
    return [DECISION + NEVER, *("\n".join(map(_rule, part)) for part in parts)]


def _rule(rule: Rule) -> str:
    return (
        f'{"allow" if rule.allowed else "deny"} if {{ input.operation == "{rule.operation}"; '
        f'input.target == "{rule.target}"; input.caller == "{rule.caller}"; input.timeout <= {rule.limit} }}'
    )


def _machine(texts: Sequence[str], data: Mapping[str, Any]) -> Loaded:
    regorus = module("regorus")
    text = json.dumps(data)
    modules = [(f"part-{number}.rego", HEAD + part) for number, part in enumerate(texts)]
    try:
        program = regorus.Program.compile_from_modules(text, modules, ["data.peers.decision"])
    except RuntimeError as error:
        raise Refused(str(error).splitlines()[0]) from error
    machine = regorus.Rvm()
    machine.load_program(program)
    machine.set_data_json(text)

    def ask(request: str) -> bool:
        machine.set_input_json(request)
        return bool(machine.execute() == "true")

    return Loaded(_request, ask)


def _request(question: Question) -> str:
    return json.dumps(
        {
            "operation": question.operation,
            "target": question.target,
            "caller": question.caller,
            "timeout": question.timeout,
        }
    )
