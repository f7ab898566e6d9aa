"""Names of images as an engine reads them (distribution/reference, normalize.go), and bounds on them; pure."""

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

DEFAULT_REGISTRY = "docker.io"
_DEFAULT_NAMES = ("docker.io", "index.docker.io")
_CHARACTERS = re.compile(r"[A-Za-z0-9._:/@\[\]-]+")
_IDENTIFIER = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
"""An engine takes it for the id of an image, or the beginning of one, if there is no image of that name."""


class ImageName(NamedTuple):
    """The parts of a name; `tag` and `digest` are empty where the name does not have them."""

    registry: str
    repository: str
    tag: str
    digest: str


def image_name(text: str) -> ImageName | None:
    """Return the parts of an image's name; None where it is no name, or may be an id."""
    if not _CHARACTERS.fullmatch(text) or may_be_id(text):
        return None
    found = split_name(text)
    if found.registry == DEFAULT_REGISTRY and "/" not in found.repository:
        found = found._replace(repository=f"library/{found.repository}")
    return found if found.tag or found.digest else found._replace(tag="latest")


def may_be_id(text: str) -> bool:
    """Return whether an engine may take this text for the id of an image, or for the beginning of one."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_image_within(image: str, bound: str) -> bool:
    """Return whether the bound permits the image. A digest counts alone, so a bound with a tag alone permits none."""
    name = image_name(image)
    if name is None:
        return False
    limit = split_name(bound)
    if limit.registry not in ("*", name.registry) or not fnmatchcase(name.repository, limit.repository):
        return False
    if limit.tag and (not fnmatchcase(name.tag, limit.tag) or (name.digest and not limit.digest)):
        return False
    return not limit.digest or (bool(name.digest) and fnmatchcase(name.digest, limit.digest))


def split_name(text: str) -> ImageName:
    """Return the parts as they are written; a name without a registry has the default one."""
    rest, _, digest = text.partition("@")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    first, slash, repository = path.partition("/")
    if not slash or not (set(first) & set(".:*") or first == "localhost" or first != first.lower()):
        first, repository = DEFAULT_REGISTRY, path
    return ImageName(DEFAULT_REGISTRY if first in _DEFAULT_NAMES else first, repository, tag, digest)
