"""A notifier: a line in the router's own log. It makes the request; the audit service sends it."""

import json

from writ_contracts.notifications import HttpRequest, Notification, Notifier, Receiver


def _request(one: Notification, to: Receiver, _: float) -> HttpRequest:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {to.secret.decode().strip()}"}
    body = json.dumps({"id": one.id, "line": f"{one.kind}: {one.title}"}).encode()
    return HttpRequest(url=f"{to.url}/log", headers=headers, body=body)


NOTIFIER = Notifier(request=_request, summary="a line in a router's log", least_secret=8)
