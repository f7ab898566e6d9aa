"""The common part of the configuration of our nats-servers: the server of Writ and a site's leaf node."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

MAX_PAYLOAD = 2 * 1024 * 1024


class AnyServer(Struct, frozen=True, kw_only=True):
    """The name of a server, and its addresses: for clients, and on loopback for monitoring."""

    server_name: str = "writ"
    host: str = "127.0.0.1"
    port: int
    monitor_port: int


def server_file(server: AnyServer, settings: Mapping[str, Any]) -> str:
    """Return the text of the file: the common settings, then `settings`."""
    common = {
        "server_name": server.server_name,
        "host": server.host,
        "port": server.port,
        "http": f"127.0.0.1:{server.monitor_port}",
        "max_payload": MAX_PAYLOAD,
        "ping_interval": "10s",
        "ping_max": 2,
        "write_deadline": "10s",
    }
    # nats-server reads UTF-8, but refuses a `\\u` of JSON: a folder may have any name.
    texts = {key: json.dumps(value, indent=2, ensure_ascii=False) for key, value in {**common, **settings}.items()}
    return "".join(f"{key}: {text}\n" for key, text in texts.items())
