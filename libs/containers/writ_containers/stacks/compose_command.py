"""`docker compose` on a complete file from standard input, without the agent's own environment.

Compose 2.26 substitutes variables of its environment and of `.env`, and reads `~/.docker` (measured). So its
environment is empty, HOME is an empty folder, the project's folder does not exist, and the file has no `$`.
"""

import asyncio
import os
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from writ_agent.backends.processes import end, marked_environ
from writ_containers.containers.container_view import stack_mark
from writ_containers.engine.endpoint import Endpoint, docker_environment
from writ_contracts.errors import Unreachable

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_OUTPUT = 64 * 1024
ENDS_WITHIN = 1.0
NO_COMPOSE = (
    "docker compose is not installed where the agent runs: install Docker's command line with the Compose plugin"
)


async def up(
    operation_id: str, endpoint: Endpoint, name: str, file: bytes, options: Sequence[str], config: bytes
) -> tuple[int, str]:
    """Run `docker compose up`. Returns its exit status and the end of its output, which may hold secrets. Raises
    Unreachable (`tool_missing`). `config`: Docker's config.json, with the credentials of registries.
    """
    with tempfile.TemporaryDirectory(prefix="writ-compose-") as empty:
        command = ["docker", "compose", "--project-name", name, "--env-file", os.devnull]
        command += ["--project-directory", stack_mark(operation_id)]
        found = docker_environment(endpoint, Path(empty))
        environment = {"PATH": PATH, "HOME": empty, "DOCKER_CONFIG": empty, **found}
        (Path(empty) / "config.json").write_bytes(config)  # the folder is ours alone
        arguments = [*command, "--ansi", "never", "--progress", "plain", "--file", "-", "up", "--detach", *options]
        if not await version():  # first: after a failed `up` nobody knows what was done
            raise Unreachable(NO_COMPOSE, code="tool_missing")
        return await _run(operation_id, arguments, environment, empty, file)


async def stack_deploy(
    operation_id: str, endpoint: Endpoint, name: str, file: bytes, config: bytes, *, resolve: bool
) -> tuple[int, str]:
    """Run `docker stack deploy`, which does not wait for the services. See `up`. `resolve`: ask the registries for each
    image again.
    """
    with tempfile.TemporaryDirectory(prefix="writ-compose-") as empty:
        environment = {
            "PATH": PATH,
            "HOME": empty,
            "DOCKER_CONFIG": empty,
            **docker_environment(endpoint, Path(empty)),
        }
        (Path(empty) / "config.json").write_bytes(config)  # the folder is ours alone
        options = ["--prune", "--with-registry-auth", "--detach=true", "--resolve-image"]
        arguments = [
            "docker",
            "stack",
            "deploy",
            *options,
            "always" if resolve else "changed",
            "--compose-file",
            "-",
            name,
        ]
        return await _run(operation_id, arguments, environment, empty, file)


async def version() -> str:
    """Return the version of Compose; empty where this machine has none."""
    with tempfile.TemporaryDirectory(prefix="writ-compose-") as empty:
        environment = {"PATH": PATH, "HOME": empty, "DOCKER_CONFIG": empty}
        try:
            status, text = await _run(
                "compose-version", ["docker", "compose", "version", "--short"], environment, empty
            )
        except Unreachable:
            return ""
    return text.strip()[:40] if status == 0 else ""


async def _run(
    operation_id: str, command: Sequence[str], environment: dict[str, str], folder: str, stdin: bytes = b""
) -> tuple[int, str]:
    """Run the command. Its child processes end with it, also at a cancel."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, cwd=folder, env=marked_environ(operation_id, environment)
        )
    except OSError as error:
        raise Unreachable(NO_COMPOSE, code="tool_missing") from error
    kept = bytearray()
    try:
        if process.stdin is not None:
            process.stdin.write(stdin)
            with suppress(ConnectionError):  # it has ended already; its status says why
                await process.stdin.drain()
            process.stdin.close()
        while process.stdout is not None and (piece := await process.stdout.read(4096)):
            kept = bytearray((kept + piece)[-MOST_OUTPUT:])
        return await process.wait(), kept.decode(errors="replace")
    finally:
        if process.returncode is None:
            await end(operation_id, ENDS_WITHIN)
            await process.wait()
