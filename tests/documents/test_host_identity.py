"""The identity of a host: keyed, one for each installation, and none without a usable machine-id."""

from pathlib import Path

import pytest

from writ_documents.host_identity import host_identity

MACHINE = "0123456789abcdef" * 2


def test_identity_differs_by_host_and_installation_and_does_not_show_the_machine_id(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(MACHINE + "\n")
    two.write_text(MACHINE[::-1] + "\n")
    found = {host_identity(installation, path) for installation in ("a", "b") for path in (one, two)}
    assert len(found) == 4
    assert not any(MACHINE in str(each) for each in found)


@pytest.mark.parametrize("content", ["", "uninitialized\n", "0" * 31, "G" * 32, None])
def test_host_without_a_machine_id_has_no_identity(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "machine-id"
    if content is not None:
        path.write_text(content)
    assert host_identity("a", path) is None
