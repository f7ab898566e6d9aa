"""Heavy libraries are loaded when something first needs them.

Each megabyte counts once for every service, and each millisecond for every command.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CRYPTOGRAPHY, ENGINES = "cryptography.hazmat", "aiohttp.client"
ANALYSIS = "writ_rules.analysis"
"""The policy service runs it in a process of its own; lint, which every load needs, is beside it."""


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("writ_policy", [CRYPTOGRAPHY, ANALYSIS]),
        ("writ_executor", [CRYPTOGRAPHY]),
        ("writ_audit", [CRYPTOGRAPHY]),
        ("writ_agent_local", [CRYPTOGRAPHY, ENGINES]),
        ("writ_gateway.http", [CRYPTOGRAPHY, "mcp.client", "mcp.server.mcpserver"]),
        ("writ_gateway", [CRYPTOGRAPHY, "mcp.client", "mcp.server.mcpserver"]),
        ("writ_agent_ssh", [ENGINES]),  # asyncssh itself needs cryptography
    ],
)
def test_a_service_starts_without_heavy_libraries(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}.__main__; print(*(name for name in {absent!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.split() == []


NATS, METRICS, TERMINAL, ENGINE, CLIENT = "nats", "prometheus_client", "rich", "writ_rules", "writ_client"
OPERATIONS = "writ_contracts.catalogue"
SUPERVISOR = "writ_installation.supervisor.supervisor"
BARE = [NATS, METRICS, TERMINAL, ENGINE, CLIENT, SUPERVISOR, CRYPTOGRAPHY, "msgspec", "asyncio", "yaml"]
"""What a command without an installation needs nothing of."""
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("loaded", *(name for name in {absent!r} if name in sys.modules), file=sys.stderr))
sys.argv = ["writ", *{words!r}]
from writ_cli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("--help", BARE),
        ("version", BARE),
        ("operations", [NATS, METRICS, ENGINE, CLIENT, SUPERVISOR, CRYPTOGRAPHY]),
        ("status", [METRICS, ENGINE, CLIENT, SUPERVISOR, CRYPTOGRAPHY, OPERATIONS]),
        ("target list", [METRICS, ENGINE, SUPERVISOR, CRYPTOGRAPHY]),
        ("run --help", [METRICS, ENGINE, SUPERVISOR, CRYPTOGRAPHY]),
        ("policy diff --help", [NATS, METRICS, SUPERVISOR, CRYPTOGRAPHY]),
    ],
)
def test_a_command_loads_what_it_needs_alone(line: str, absent: list[str], tmp_path: Path) -> None:
    program = PROGRAM.format(words=line.split(), absent=absent)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.stderr.splitlines()[-1] == "loaded"


def test_a_command_runs_with_the_usual_thresholds_of_the_garbage_collector() -> None:
    program = (
        "import atexit, gc, sys; usual = gc.get_threshold(); sys.argv = ['writ', 'version']\n"
        "atexit.register(lambda: print(gc.get_threshold() == usual, file=sys.stderr))\n"
        "from writ_cli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "True\n"
