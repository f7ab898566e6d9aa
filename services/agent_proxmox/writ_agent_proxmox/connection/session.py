"""proxmoxer by API token, wrapped: the one module with knowledge of it. A session belongs to one thread.

Its traps (2.3.0), each met here: environment proxies and CA bundles override `verify` (`trust_env`); bools go out as
"True"; path pieces are neither quoted nor kept apart; a 200 with broken JSON is returned as success; redirects are
followed, and a reply of any size and duration is read. Its loggers show parameters at INFO and bodies at DEBUG.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import BAD_GATEWAY, INTERNAL_SERVER_ERROR
from typing import Any
from urllib.parse import quote

import requests
from proxmoxer.backends.https import Backend as ProxmoxerBackend
from proxmoxer.core import ProxmoxResource, ResourceException

from writ_agent_proxmox.connection.bounded_socket import BoundedSocket, UnusableReply
from writ_agent_proxmox.connection.credentials import ApiToken
from writ_agent_proxmox.connection.replies import error_of
from writ_agent_proxmox.connection.tls import PinnedAdapter, context_for
from writ_agent_proxmox.settings import ProxmoxConnection
from writ_contracts.errors import TimedOut, Unreachable, Untrusted, WritError
from writ_contracts.json_values import MOST_REPLIED, may_exceed

READ_SECONDS = 40.0
"""Longer than the 30 s after which PVE's proxy gives up and says 596."""
_NEVER_SENT = frozenset({"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"})
_SURROGATE = "\\ud"
"""The beginning of an escaped half of a character outside the basic plane. The other half may be missing."""
_LOGGERS = ("proxmoxer", "proxmoxer.core", "proxmoxer.backends.https", "urllib3")


class ApiSession:
    """One connection of one thread."""

    def __init__(self, connection: ProxmoxConnection, token: ApiToken, read_seconds: float = READ_SECONDS) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        backend = ProxmoxerBackend(
            connection.host,
            user=token.user,
            token_name=token.name,
            token_value=token.secret,
            port=connection.port,
            timeout=(connection.connect_timeout, read_seconds),
        )
        self._where, self._secret = connection.where, token.secret
        self._base = backend.get_base_url()
        self._session: requests.Session = backend.get_session()
        self._session.trust_env = False
        self._session.hooks["response"] = [_direct]
        self._session.headers["accept-encoding"] = "identity"
        context = context_for(connection)
        context.sslsocket_class = BoundedSocket
        self._adapter = PinnedAdapter(context, connection.fingerprint)
        self._session.mount("https://", self._adapter)

    def call(self, method: str, path: Sequence[object], parameters: Mapping[str, Any]) -> Any:
        """Return the `data` of the reply. Raises Unreachable, TimedOut (a change whose effect is unknown), Conflict,
        Denied, Invalid, Untrusted.
        """
        url = f"{self._base}/{'/'.join(quote(str(piece), safe='') for piece in path)}"
        resource = ProxmoxResource(base_url=url, session=self._session, serializer=_Json())
        with self._translated(changing=method != "get"):
            return getattr(resource, method)(**{name: _plain(value) for name, value in parameters.items()})

    def close(self) -> None:
        self._session.close()

    @contextmanager
    def _translated(self, *, changing: bool) -> Iterator[None]:
        try:
            yield
        except ResourceException as error:
            raise self._refusal(error, changing=changing) from None
        except (requests.RequestException, UnusableReply) as error:
            self._adapter.close_connections()  # a server whose reply is refused keeps none
            raise self._broken(error, changing=changing) from None

    def _refusal(self, error: Any, *, changing: bool) -> WritError:
        """Return the refusal as our error. A real PVE has the text in the reason phrase, others in the body: both are
        read.
        """
        parts = dict.fromkeys(text for text in (str(error.content or ""), str(error.errors or "")) if text)
        text = "; ".join(parts).replace(self._secret, "<secret>")
        return error_of(error.status_code, text, changing=changing)

    def _broken(self, error: Exception, *, changing: bool) -> WritError:
        if isinstance(error, requests.exceptions.SSLError):
            message = f"{self._where} shows another certificate than the one on record"
            return Untrusted(message, code="certificate_changed")
        if _never_sent(error):
            return Unreachable(f"{self._where} cannot be reached", code="unreachable")
        kind = TimedOut if changing else Unreachable
        word = str(error) if isinstance(error, UnusableReply) else "the connection broke before the reply"
        return kind(f"{self._where}: {word}", code="garbled" if isinstance(error, UnusableReply) else "no_reply")


class _Json:
    """Replies in the form that proxmoxer expects, without its leniency."""

    def get_accept_types(self) -> str:
        """Name what is accepted."""
        return "application/json"

    def loads(self, response: requests.Response) -> Any:
        """Return `data`. Raises UnusableReply."""
        try:
            return _parsed(response.content)["data"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UnusableReply("the reply is not JSON with data") from None

    def loads_errors(self, response: requests.Response) -> str:
        """Return the body's message and errors by field; empty where it has none, as on a real PVE. Raises
        UnusableReply for the page of another server before it, where its status could be Proxmox' own.
        """
        try:
            body = _parsed(response.content)
            errors = body.get("errors") or {}
            fields = [f"{name}: {text}" for name, text in errors.items()] if isinstance(errors, dict) else [errors]
            return "; ".join(str(part).strip() for part in (body.get("message"), *fields) if part)
        except (ValueError, AttributeError, RecursionError):
            if INTERNAL_SERVER_ERROR <= response.status_code < BAD_GATEWAY and response.content.strip():
                raise UnusableReply(f"the reply {response.status_code} is not from Proxmox") from None
            return ""


def _parsed(content: bytes) -> Any:
    """Return the JSON, with `?` for what is no Unicode: logs and notes may have any bytes. Raises ValueError, and
    UnusableReply for one of too many values.
    """
    if may_exceed(content, MOST_REPLIED):
        raise UnusableReply(f"the reply may have more than {MOST_REPLIED:,} values")
    text = content.decode("utf-8", "replace")
    body = json.loads(text)
    if _SURROGATE in text.lower():
        body = json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    return body


def _direct(response: requests.Response, **_: Any) -> None:
    """Raise UnusableReply for a redirect, and for a compressed reply, whose size is not known before it is unpacked."""
    if 300 <= response.status_code < 400:
        response.close()
        raise UnusableReply("the reply is a redirect")
    if response.headers.get("content-encoding", "identity") != "identity":
        response.close()
        raise UnusableReply("the reply is compressed")


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _never_sent(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.exceptions.ConnectionError) and error.args else None
    return type(getattr(cause, "reason", None)).__name__ in _NEVER_SENT
