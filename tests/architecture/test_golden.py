"""Every message has a golden file, so a change of its wire form fails here before a peer meets it."""

import re
from pathlib import Path

from docs.generate.asyncapi import every_struct
from msgspec import Struct
from tests.architecture.tree import ROOT

from writ_testing.each_case import each_case

GOLDEN = ROOT / "tests/contracts/golden"


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def names_of(kind: type[Struct]) -> set[str]:
    tag = kind.__struct_config__.tag
    return {plain(kind.__name__)} | ({plain(tag)} if isinstance(tag, str) else set())


@each_case("kind", every_struct(), ids=lambda kind: kind.__name__)
def test_a_message_has_a_golden_file(kind: type[Struct]) -> None:
    kept: list[Path] = [path for path in GOLDEN.rglob("*.*") if path.is_file()]
    stems = {re.sub(r"v\d+$", "", plain(path.stem)) for path in kept}
    assert {re.sub(r"v\d+$", "", name) for name in names_of(kind)} & stems, f"none in {GOLDEN.relative_to(ROOT)}"
