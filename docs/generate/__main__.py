"""Write the documents that are made from code, or with `--check` report those out of date (exit status 1)."""

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.grafana.generate import DASHBOARDS
from msgspec import Struct

from docs.generate import asyncapi, client_groups, inventory_keys, metrics_table, policy_keys, runbook_page, schemas
from writ_agent.config import PluginConfig
from writ_agent_docker.config import DockerAgentConfig
from writ_agent_local.config import LocalAgentConfig
from writ_agent_proxmox.config import ProxmoxAgentConfig
from writ_agent_ssh.config import SshAgentConfig
from writ_audit.config import AuditConfig
from writ_cli.installation.processes.provision import ProvisionerConfig
from writ_contracts import errors
from writ_documents.yaml_file import dump
from writ_executor.config import ExecutorConfig
from writ_gateway.config import GatewayConfig
from writ_gateway.http.config import HttpGatewayConfig
from writ_policy.config import PolicyConfig
from writ_runtime.config import ServiceConfig, Variable, describe

SERVICES: dict[str, type[ServiceConfig]] = {
    "policy": PolicyConfig,
    "executor": ExecutorConfig,
    "audit": AuditConfig,
    "gateway.http": HttpGatewayConfig,
    "agent_local": LocalAgentConfig,
    "agent_ssh": SshAgentConfig,
    "agent_docker": DockerAgentConfig,
    "agent_proxmox": ProxmoxAgentConfig,
}
OTHERS: dict[str, type[Struct]] = {
    "writ_gateway": GatewayConfig,
    "An agent with a plugin's backend (`python -m writ_agent`)": PluginConfig,
    "The provisioner (`writ keep`)": ProvisionerConfig,
}

CONFIGURATION = """\
# Configuration

Each service reads its environment once, when it starts. A mistake is one line that names the variable, and exit status
2. An empty variable counts as unset. `writ up` sets the required ones for the services that it starts, and passes the
others on. A variable `WRIT_…` or `SYSTEMMANAGER_…` that nothing reads is reported if its name is like one of these: in
the log, and by `writ up`. [The command](#the-command-writ) has variables of its own, as have
[containers](../deploy/README.md#in-containers).

*Made from the configuration structs by `make docs`.*
"""

COMMAND = """
## The command `writ`

| variable | default | meaning |
|---|---|---|
| `WRIT_HOME` | `.writ` | the installation's folder; `.writ` is searched from the working directory upwards |
| `WRIT_CONTEXT` | | a saved context, or a file of `writ context -o json`, in place of the folder |
| `WRIT_PRINCIPAL` | `operator`, or the only one with a key | the principal that requests, as `--as` |
| `WRIT_KEY_FILE` | | key to connect and sign with, in place of the folder's and of that of `writ login` |
| `NATS_URL` | that of `writ up` | NATS server of an installation elsewhere; for `writ up`, a server of your own |
| `WRIT_TLS_CA` | | as of services, for `NATS_URL`; so are the other variables of TLS, and `WRIT_INSTALLATION` |
| `WRIT_POLICY_KEY` | from `public.yaml` | policy's public key, by which signatures are verified |
| `WRIT_SSH_KEY` | | security key to approve with, such as `~/.ssh/id_ed25519_sk` |
| `WRIT_SESSIONS` | `~/.local/state/writ/sessions` | folder of the keys of `writ login` |
| `WRIT_SERVICES` | those of `writ up`, or of systemd | health addresses for `writ status`, each `HOST:PORT` |
| `WRIT_NATS_PORT` | `4222` | port of NATS that `writ up` starts; 0 takes a free one |
| `WRIT_HEALTH_PORT` | `9400` | health port of the first process of `writ up`; the others take the next ones |
| `SYSTEMMANAGER_POLICY_CONFIG` | `policy.yaml` in the folder | the policy file of `writ up` |
| `SYSTEMMANAGER_POLICY_MODE` | `strict` | mode of `writ policy` on files, as of policy |
| `WRIT_NATS_CLIENT` | `direct` | `plain`: use public names of nats-py alone; also of services |
| `WRIT_DEBUG` | | any value: show the traceback of an error, too |
"""

VARIABLE_NAMES = '''\
"""The environment variables that services read. Made from the configuration structs by `make docs`."""

'''

CODES = """\
# Codes

Why something was refused, decided or ended as it was: `code` in errors, verdicts and outcomes. An agent's backend adds
its own for what failed on the host. `retry` of the error says whether a repetition can help.

*Made from `writ_contracts.errors.CODES` by `make docs`.*

| code | meaning |
|---|---|
"""


def configuration() -> str:
    """Return docs/configuration.md: the variables of all services first, then each service's own, then others'."""
    tables = {name: describe(config) for name, config in SERVICES.items()}
    shared = [variable for variable in tables["policy"] if all(variable in table for table in tables.values())]
    own = {f"writ_{name}": table for name, table in tables.items()}
    own |= {title: describe(config) for title, config in OTHERS.items()}
    parts = [CONFIGURATION, _table("Every service", shared)]
    parts += [_table(title, [one for one in table if one not in shared]) for title, table in own.items()]
    return "\n".join([*parts, COMMAND])


def variable_names() -> str:
    """Return the module with the names of all variables of services."""
    configs: list[type[Struct]] = [*SERVICES.values(), *OTHERS.values()]
    names = sorted({variable.name for config in configs for variable in describe(config)})
    lines = "".join(f'        "{name}",\n' for name in names)
    return f"{VARIABLE_NAMES}OF_SERVICES = frozenset(\n    (\n{lines}    )\n)\n"


def subjects() -> str:
    """Return docs/asyncapi.yaml."""
    return "# Made from the registry of subjects by `make docs`.\n" + dump(asyncapi.document())


def codes() -> str:
    """Return docs/codes.md."""
    return CODES + "".join(f"| `{code}` | {meaning} |\n" for code, meaning in errors.CODES.items())


DOCUMENTS: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration,
    "libs/runtime/writ_runtime/variable_names.py": variable_names,
    "docs/asyncapi.yaml": subjects,
    "docs/codes.md": codes,
    "docs/policy-keys.md": policy_keys.document,
    "docs/metrics.md": metrics_table.document,
    "docs/inventory.md": inventory_keys.document,
    "deploy/prometheus/consoles/runbooks.html": runbook_page.document,
    **client_groups.documents(),
    **schemas.documents(),
    **{f"deploy/grafana/dashboards/{name}.json": make for name, make in DASHBOARDS.items()},
}


def main(arguments: list[str], root: Path) -> int:
    """Write or check each document below `root`."""
    stale = {name: text for name, make in DOCUMENTS.items() if _is_stale(root / name, text := make())}
    if "--check" in arguments:
        for name in stale:
            print(f"{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name, text in stale.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        print(f"wrote {name}")
    return 0


def _is_stale(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def _table(title: str, variables: list[Variable]) -> str:
    rows = [f"\n## {title}\n", "| variable | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{item.name}` | {item.type} | {_default(item)} | {_cell(item.description)} |" for item in variables]
    return "\n".join(rows) + "\n"


def _default(variable: Variable) -> str:
    if variable.default is None:
        return "**required**"
    return f"`{variable.default}`" if variable.default else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
