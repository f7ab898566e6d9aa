"""Credentials of image registries: a private file for each, named as the registry, with USER:PASSWORD on one line.

They go to the engine in a header of the pull, and to Compose in a file of its own empty folder; nowhere else.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from writ_bus.private_files import read_private
from writ_containers.checks.image_names import DEFAULT_REGISTRY, split_name
from writ_contracts.errors import ConfigError, Invalid
from writ_runtime.config import env

HUB, HUB_ADDRESS = DEFAULT_REGISTRY, "https://index.docker.io/v1/"
"""The default registry has this address in the files of Docker."""
RegistryFolder = Annotated[
    Path | None,
    env(
        "WRIT_DOCKER_REGISTRIES",
        "credentials of image registries: a file `host[:port]` for each, with user:password; mode 0600",
    ),
]
"""The setting of every agent that reaches engines."""


class Registries:
    """Credentials of registries. `folder`: None without any; read for each pull, so a file can be replaced."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def header(self, image: str) -> dict[str, str]:
        """Return the header of a pull of this image. Raises Invalid (`invalid_registry_credentials`)."""
        registry = registry_of(image)
        found = self._read(registry)
        if found is None:
            return {}
        user, password = found
        auth = {"username": user, "password": password, "serveraddress": _address(registry)}
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}

    def config(self, images: Iterable[str]) -> bytes:
        """Return Docker's config.json for pulls of these images. Raises Invalid."""
        auths: dict[str, Any] = {}
        for registry in {registry_of(image) for image in images}:
            if (found := self._read(registry)) is not None:
                auths[_address(registry)] = {"auth": base64.b64encode(":".join(found).encode()).decode()}
        return json.dumps({"auths": auths}).encode()

    def _read(self, registry: str) -> tuple[str, str] | None:
        path = None if self._folder is None else self._folder / registry
        if path is None or not path.is_file():
            return None
        try:
            user, colon, password = read_private(path).decode().rstrip("\n").partition(":")
        except (ConfigError, UnicodeDecodeError) as error:
            raise Invalid(f"the credentials of registry {registry}: {_why(error)}", code=CODE) from None
        if not (user and colon and password) or "\n" in password:
            raise Invalid(f"the credentials of registry {registry} are not USER:PASSWORD on one line", code=CODE)
        return user, password


CODE = "invalid_registry_credentials"


def registry_of(image: str) -> str:
    """Return host and port of an image's registry."""
    registry = split_name(image).registry
    return registry if registry not in (".", "..") else HUB


def _address(registry: str) -> str:
    return HUB_ADDRESS if registry == HUB else registry


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else "it is not UTF-8"
