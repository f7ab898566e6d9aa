"""The request and the stream of a pull: POST /images/create; pure."""

import json
from collections.abc import Mapping
from typing import Any

from writ_containers.engine.engine_errors import STREAM, one_line
from writ_containers.engine.http_client import aiodocker
from writ_contracts.errors import TimedOut


def pull_query(reference: str) -> dict[str, str]:
    """Return the query for one image: without a tag the engine would pull every tag."""
    has_tag = "@" in reference or ":" in reference.rpartition("/")[2]
    return {"fromImage": reference} if has_tag else {"fromImage": reference, "tag": "latest"}


class PullEnd:
    """The last line of the stream, which alone reports success: a reply that began as one may bring an error."""

    def __init__(self) -> None:
        self.status, self._id = "", ""

    def feed(self, line: bytes) -> None:
        """Take the next line. Raises DockerError for an error."""
        one: Mapping[str, Any] = json.loads(line)
        if "error" in one or "errorDetail" in one:
            detail = one.get("errorDetail") or {}
            raise aiodocker.exceptions.DockerError(STREAM, str(detail.get("message") or one.get("error")))
        self.status, self._id = one_line(str(one.get("status", ""))), str(one.get("id", ""))

    @property
    def is_whole(self) -> bool:
        """Return whether Docker has ended it."""
        return self.status.startswith("Status:")

    @property
    def may_be_whole(self) -> bool:
        """Return whether Docker or Podman may have ended it: Docker sends Podman's last line for each layer."""
        return self.is_whole or self._is_of_podman

    def names(self, image: Mapping[str, Any] | None) -> bool:
        """Return whether Podman has ended it: its last line has the beginning of the id of the image."""
        number = str((image or {}).get("Id", "")).removeprefix("sha256:")
        return self._is_of_podman and number.startswith(self._id)

    def check(self, image: Mapping[str, Any] | None) -> None:
        """Raise TimedOut (`connection_lost`) if it ended before its last line. `image`: the engine's, after it."""
        if not self.is_whole and not self.names(image):
            raise TimedOut("the pull ended before its last line", code="connection_lost")

    @property
    def _is_of_podman(self) -> bool:
        return self.status == "Download complete" and len(self._id) >= 12
