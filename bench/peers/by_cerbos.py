"""Cerbos: its own binary in a separate process, called over gRPC on loopback with its own Python client.

There is one resource policy for each role of targets, so that Cerbos finds the rules by kind, action and role. Each
request has one role of the caller, since in Cerbos a denial counts within one role only.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.engine import FOLDER, Loaded, Missing, module
from bench.peers.model import CALLERS, OPERATIONS, TARGETS, Question, Rule
from writ_installation.nats.server import free_port

NAME = "Cerbos over gRPC"
ANSWER = "answers with allowed or not for each action asked about; unsigned"
BINARY = FOLDER / "node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"
WITHIN = 60.0
"""Seconds until it must reply."""
OFTEN = {f"grpc.{which}_reconnect_backoff_ms": 50 for which in ("initial", "min", "max")}
"""Pause between tries, so that the client finds the server soon after it listens."""


@contextmanager
def cerbos(folder: Path, rules: Sequence[Rule]) -> Iterator[tuple[Loaded, float]]:
    """Run a server with the rules. Yield it with the seconds until it replied. Raises Missing."""
    if not BINARY.exists():
        raise Missing("its binary is not installed; npm brings it, for Linux on x86-64")
    client_of = module("cerbos.sdk.grpc.client").CerbosClient
    folder.mkdir()
    for target in TARGETS:
        (folder / f"{target}.json").write_text(json.dumps(_policy(target, rules)))
    port = free_port()
    began = time.perf_counter()
    with subprocess.Popen(_command(folder, port)) as process:
        try:
            client = client_of(
                f"127.0.0.1:{port}", tls_verify=False, wait_for_ready=True, timeout_secs=WITHIN, channel_options=OFTEN
            )
            loaded = Loaded(_preparing(), lambda request: bool(client.is_allowed(*request)))
            loaded.ask(loaded.prepare(Question(OPERATIONS[0], TARGETS[0], CALLERS[0], 1)))
            yield loaded, time.perf_counter() - began
        finally:
            process.terminate()


def version() -> str:
    """Return the version of the binary, by its package."""
    return str(json.loads(BINARY.with_name("package.json").read_text())["version"])


def _command(folder: Path, port: int) -> list[str]:
    settings = (
        f"server.grpcListenAddr=127.0.0.1:{port}",
        f"server.httpListenAddr=127.0.0.1:{free_port()}",
        "storage.driver=disk",
        f"storage.disk.directory={folder}",
        "telemetry.disabled=true",
    )
    return [str(BINARY), "server", "--log-level=error", *(f"--set={setting}" for setting in settings)]


def _policy(target: str, rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "apiVersion": "api.cerbos.dev/v1",
        "resourcePolicy": {
            "version": "default",
            "resource": target,
            "rules": [_rule(rule) for rule in rules if rule.target == target],
        },
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name.replace("-", "_"),
        "actions": [rule.operation],
        "roles": [rule.caller],
        "effect": "EFFECT_ALLOW" if rule.allowed else "EFFECT_DENY",
        "condition": {"match": {"expr": f"R.attr.timeout <= {rule.limit}"}},
    }


def _preparing() -> Any:
    engine = module("cerbos.engine.v1.engine_pb2")
    value = module("google.protobuf.struct_pb2").Value

    def prepare(question: Question) -> tuple[str, Any, Any]:
        caller = engine.Principal(id=f"a-{question.caller}", roles=[question.caller])
        attributes = {"timeout": value(number_value=question.timeout)}
        return question.operation, caller, engine.Resource(id="a-target", kind=question.target, attr=attributes)

    return prepare
