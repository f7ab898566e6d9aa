"""Each image gets the credentials of its registry, and an invalid file is refused."""

import base64
import json
from pathlib import Path

import pytest

from writ_containers.containers.image_pull import references
from writ_containers.engine.pull_stream import PullEnd
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


NUMBER = "6384248836d9" + "0" * 52
PODMAN = b"""{"status":"Pulling fs layer","progressDetail":{},"id":"290d36ca5a8f"}
{"status":"Download complete","progressDetail":{},"id":"290d36ca5a8f"}
{"status":"Download complete","progressDetail":{},"id":"6384248836d9"}
"""


def test_pull_of_podman_has_ended_once_its_last_line_names_the_image() -> None:
    end = PullEnd()
    for line in PODMAN.splitlines(keepends=True):
        assert not end.names({"Id": f"sha256:{NUMBER}"})
        end.feed(line)
    assert not end.is_whole
    assert end.names({"Id": f"sha256:{NUMBER}"})
    assert end.names({"Id": NUMBER})
    assert not end.names({"Id": "sha256:" + "0" * 64})
    assert not end.names(None)


def test_pull_of_docker_that_ends_at_a_layer_is_not_whole() -> None:
    end = PullEnd()
    for line in (b'{"status":"Download complete"}', b'{"status":"Pull complete","id":"290d36ca5a8f"}'):
        end.feed(line)
        assert not end.is_whole
        assert not end.names({"Id": f"sha256:{NUMBER}"})
    end.feed(b'{"status":"Status: Downloaded newer image for box:1"}')
    assert end.is_whole


def test_images_are_named_as_parameters_name_them() -> None:
    tags = [
        "docker.io/lab/box:1",
        "docker.io/library/box:latest",
        "localhost/box:1",
        "registry.example/docker.io/box:1",
    ]
    assert references({"RepoTags": tags}) == ["lab/box:1", "box", "localhost/box:1", "registry.example/docker.io/box:1"]
