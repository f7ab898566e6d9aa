"""What the host's side answers is what the catalogue says that an operation gives, field by field."""

from pathlib import Path
from typing import Any

import pytest

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Catalogue
from writ_hostops.files import copy, delete, read, write
from writ_hostops.network import status
from writ_hostops.protocol import Answer, Call, FileRoot, Target
from writ_hostops.stop import Stop
from writ_hostops.systemd import services
from writ_hostops.systemd.unit import Unit

CATALOGUE = Catalogue(BUILT_IN)


def call(root: Path, operation: str, **parameters: Any) -> Call:
    target = Target(file_roots=(FileRoot(str(root), allow_system_root=True),))
    return Call(operation, parameters, target, Stop(30.0), lambda _: None)


def unknown(operation: str, answer: Answer | dict[str, Any]) -> set[str]:
    output = answer.output if isinstance(answer, Answer) else answer
    return set(output) - set(CATALOGUE[operation].output.__struct_fields__)


def test_files(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    wish = call(tmp_path, "file_write", file_path=one, content="x")
    assert unknown("file_write", write.preview(wish)) == set()
    assert unknown("file_write", write.run(wish)) == set()
    assert unknown("file_read", read.run(call(tmp_path, "file_read", file_path=one))) == set()
    wish = call(tmp_path, "file_copy", source_path=one, dest_path=two)
    assert unknown("file_copy", copy.preview(wish)) == set()
    assert unknown("file_copy", copy.run(wish)) == set()
    wish = call(tmp_path, "file_delete", file_path=two)
    assert unknown("file_delete", delete.preview(wish)) == set()
    assert unknown("file_delete", delete.run(wish)) == set()


def test_network(tmp_path: Path) -> None:
    assert unknown("network_status", status.run(call(tmp_path, "network_status"))) == set()


@pytest.mark.parametrize("operation", ["service_status", "service_start", "service_stop", "service_restart"])
def test_services(operation: str) -> None:
    output = services._output("nginx", Unit("nginx.service"))
    assert unknown(operation, {"would": "", "job_result": "", "changed": False, **output}) == set()
