"""What the policy service reads from its environment."""

from pathlib import Path
from typing import Annotated, Literal

from writ_runtime.config import ServiceConfig, env

Mode = Literal["strict", "permissive"]


class Config(ServiceConfig, frozen=True, kw_only=True):
    """The four files are looked at before every decision; one that can't be used leaves its last good version."""

    policy: Annotated[Path, env("SYSTEMMANAGER_POLICY_CONFIG", "the policy file, YAML or JSON")]
    mode: Annotated[
        Mode,
        env("SYSTEMMANAGER_POLICY_MODE", "strict refuses a policy for what lint finds, permissive warns of it"),
    ] = "strict"
    dry_run_only: Annotated[
        bool, env("SYSTEMMANAGER_ENABLE_DRY_RUN", "true: nothing changes anywhere, what is accepted ends as a preview")
    ] = False
    inventory: Annotated[Path, env("WRIT_INVENTORY", "inventory.yaml")]
    principals: Annotated[Path, env("WRIT_PRINCIPALS", "principals.yaml")]
    agents: Annotated[Path, env("WRIT_AGENTS", "agents.yaml: which keys may claim for which pool")]
