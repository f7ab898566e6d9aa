"""Each image gets the credentials of its registry, and an invalid file is refused."""

import base64
import json
from pathlib import Path

import pytest

from writ_containers.engine.registries import Registries, registry_of
from writ_contracts.errors import Invalid


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("library/nginx:1", "docker.io"),
        ("ghcr.io/a/b:1", "ghcr.io"),
        ("127.0.0.1:5000/a@sha256:00", "127.0.0.1:5000"),
        ("localhost/a", "localhost"),
        ("../x", "docker.io"),
    ],
)
def test_image_names_its_registry(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def put(folder: Path, name: str, text: str, mode: int = 0o600) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(mode)


def test_registry_gets_its_own_credentials_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, "ghcr.io", "me:s3cret:with colon\n")
    put(tmp_path, "docker.io", "hub:word")
    known = Registries(tmp_path)
    header = json.loads(base64.urlsafe_b64decode(known.header("ghcr.io/a/b:1")["X-Registry-Auth"]))
    assert header == {"username": "me", "password": "s3cret:with colon", "serveraddress": "ghcr.io"}
    assert known.header("quay.io/a/b") == {}
    auths = json.loads(known.config(["nginx", "quay.io/a/b"]))["auths"]
    assert {name: base64.b64decode(one["auth"]) for name, one in auths.items()} == {
        "https://index.docker.io/v1/": b"hub:word"
    }
    assert Registries().header("ghcr.io/a/b") == {}


@pytest.mark.parametrize(("text", "mode"), [("s3cret", 0o600), ("a:s3cret\nb", 0o600), ("me:s3cret", 0o644)])
def test_invalid_file_is_refused_without_its_content(text: str, mode: int, tmp_path: Path) -> None:
    put(tmp_path, "ghcr.io", text, mode)
    with pytest.raises(Invalid) as refused:
        Registries(tmp_path).header("ghcr.io/a/b:1")
    assert refused.value.code == "invalid_registry_credentials"
    assert "ghcr.io" in str(refused.value)
    assert "s3cret" not in str(refused.value)
