"""Table of nats-py's internals used by the direct client, with the expected form of each.

`requirements.in` pins nats-py below the next minor release. Before the pin moves, `missing()` must be empty.
"""

import inspect

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

COROUTINES = {
    "_connect_to_server": ("s",),
    "_read_loop": (),
    "publish": ("subject", "payload", "reply", "headers"),
    "_process_msg": ("sid", "subject", "reply", "data", "headers"),
    "_flush_pending": ("force_flush",),
    "_send_publish": ("subject", "reply", "payload", "payload_size", "headers"),
    "_send_command": ("cmd", "priority"),
    "_send_unsubscribe": ("sid", "limit"),
    "_process_op_err": ("e",),
    "_attempt_reconnect": (),
    "_process_info": ("info", "initial_connection"),
    "_process_connect_init": (),
}
"""Coroutine methods of the client that are called or replaced, with their parameters."""
FUNCTIONS = {"_parse_header_lines": ("raw",), "_remove_sub": ("sid", "max_msgs")}
ATTRIBUTES: dict[str, type] = {
    "_transport": type(None),
    "_subs": dict,
    "_pending": list,
    "_pending_data_size": int,
    "_max_pending_size": int,
    "_max_payload": int,
    "_status": int,
    "_pongs": list,
    "_server_info": dict,
    "_flush_queue": type(None),
    "_reconnection_task": type(None),
    "_ps": Parser,
}
"""Attributes of a new client, with their types."""
TRANSPORT = ("_io_reader", "_io_writer")
PARSER = {"buf": bytearray(), "state": AWAITING_CONTROL_LINE}
"""Attributes of a new parser, with their values: bytes that are no whole line yet, and what it waits for."""
SUBSCRIPTION = ("_id", "_future", "_received")


def missing() -> list[str]:
    """Return the changes in nats-py, each with the expected form."""
    client = Client()
    subscription = Subscription(client)
    transport = TcpTransport()  # type: ignore[no-untyped-call]
    return [
        *(problem for name, expected in COROUTINES.items() for problem in _signature(name, expected, waits=True)),
        *(problem for name, expected in FUNCTIONS.items() for problem in _signature(name, expected, waits=False)),
        *(
            f"Client.{name} should be of type {kind.__name__}, and is {getattr(client, name, 'not there')!r}"
            for name, kind in ATTRIBUTES.items()
            if type(getattr(client, name, ...)) is not kind
        ),
        *(
            f"Parser.{name} should be {value!r} at first, and is {getattr(client._ps, name, 'not there')!r}"
            for name, value in PARSER.items()
            if getattr(client._ps, name, ...) != value
        ),
        *(f"Subscription.{name} is not there" for name in SUBSCRIPTION if not hasattr(subscription, name)),
        *(f"TcpTransport.{name} is not there" for name in TRANSPORT if not hasattr(transport, name)),
    ]


def _signature(name: str, expected: tuple[str, ...], *, waits: bool) -> list[str]:
    method = getattr(Client, name, None)
    if method is None:
        return [f"Client.{name} is not there"]
    if inspect.iscoroutinefunction(method) != waits:
        return [f"Client.{name} should be {'a coroutine' if waits else 'a plain'} function"]
    found = tuple(one for one in inspect.signature(method).parameters if one != "self")
    return [] if found == expected else [f"Client.{name} should take {expected}, and takes {found}"]
