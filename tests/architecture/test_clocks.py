"""The host's own time is read where it is shown to people, and nowhere where something is decided (ADR 31)."""

import ast
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, parsed, shown

SHOWS = {
    "libs/agent/writ_agent/preflight/listings.py": "`taken_at`, for people",
    "libs/agent/writ_agent/reporting/spool.py": "names of files that are set aside",
    "libs/agent/writ_agent/backends/target_health.py": "how long ago this process itself saw a target",
    "libs/bus/writ_bus/nats/services.py": "when the service began, for discovery",
    "libs/bus/writ_bus/tracing.py": "spans",
    "libs/runtime/writ_runtime/clocks.py": "the skew",
    "libs/runtime/writ_runtime/health.py": "since when a check fails",
    "services/agent_ssh/writ_agent_ssh/startup/bootstrap.py": "files of the host that it runs on, by that host's clock",
    "services/agent_ssh/writ_agent_ssh/host_sessions/quarantine.py": "until when a host is left alone, by its clock",
    "services/agent_ssh/writ_agent_ssh/tailnet/tailscale.py": "when the key of a node expires, as the tailnet says",
    "services/audit/writ_audit/index_follower.py": "spans",
    "services/audit/writ_audit/server_log/file_times.py": "when files of this host changed, by its clock",
    "services/gateway/writ_gateway/http/access_tokens.py": "the end of an introspected token, as its server says it",
    "services/gateway/writ_gateway/http/tokens.py": "lifetimes of bearer tokens, which are days",
}
READS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
PARTS = ("libs/agent", "libs/bus", "libs/runtime", "services")


def reads_the_wall_clock(path: Path) -> bool:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in READS:
            return True
        if isinstance(node, ast.ImportFrom) and any((node.module, one.name) in READS for one in node.names):
            return True
    return False


MODULES = sorted(path for part in PARTS for path in (ROOT / part).rglob("writ_*/**/*.py"))


def test_the_hosts_own_time_is_read_only_where_it_is_shown() -> None:
    assert {shown(path) for path in MODULES if reads_the_wall_clock(path)} == set(SHOWS)


@pytest.mark.parametrize("text", ["import time\ntime.time()", "from time import time_ns", "x = time.time"])
def test_check_finds_each_spelling_of_a_clock_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert reads_the_wall_clock(path)
