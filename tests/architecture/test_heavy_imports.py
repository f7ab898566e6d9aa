"""Services load heavy libraries when something first needs them: each megabyte counts once for every process."""

import subprocess
import sys

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
