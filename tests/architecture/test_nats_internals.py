"""Only `writ_bus.nats.client` uses private names of nats-py."""

import ast

from tests.architecture.tree import ROOT, parsed, shown

BUS = ROOT / "libs/bus/writ_bus"
FENCE = BUS / "nats/client"


def private_uses(tree: ast.AST) -> list[str]:
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls")
    ]


def test_private_names_of_nats_py_are_used_in_one_package() -> None:
    outside = [path for path in sorted(BUS.rglob("*.py")) if FENCE not in path.parents]
    assert {shown(path): uses for path in outside if (uses := private_uses(parsed(path)))} == {}
    assert any(private_uses(parsed(path)) for path in FENCE.glob("*.py")), "the fence holds something"


def test_check_finds_a_use_of_a_private_name() -> None:
    assert private_uses(ast.parse("self._mine, self.client._pending, other._x()")) == [
        "1: self.client._pending",
        "1: other._x",
    ]
