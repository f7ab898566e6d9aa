"""Configuration of the policy service, from its environment."""

import re
from pathlib import Path
from typing import Annotated, Final

from writ_contracts.errors import ConfigError
from writ_rules.loading import Mode
from writ_runtime.config import JournalLost, SignerConfig, env

DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class PolicyConfig(SignerConfig, frozen=True, kw_only=True):
    """The policy service's settings.

    The four files are checked for changes before every decision. If a file becomes unusable, its last good version
    stays in force.
    """

    policy: Annotated[Path, env("SYSTEMMANAGER_POLICY_CONFIG", "the policy file, YAML or JSON")] = Path(
        "/etc/systemmanager/policy.yaml"
    )
    mode: Annotated[
        Mode,
        env("SYSTEMMANAGER_POLICY_MODE", "strict refuses a policy for what lint finds, permissive warns of it"),
    ] = "strict"
    dry_run_only: Annotated[
        bool, env("SYSTEMMANAGER_ENABLE_DRY_RUN", "true: no target is changed; accepted operations end as previews")
    ] = False
    versions_lost: Annotated[
        int,
        env(
            "WRIT_POLICY_VERSIONS_LOST",
            "number of a version: versions up to it were lost with the store, and policy decides without them",
        ),
    ] = 0
    state_dir: Annotated[
        Path, env("WRIT_STATE_DIR", "folder of its state: the highest version it enforced, its journal")
    ]
    journal_lost: JournalLost = 0
    former_keys: Annotated[
        str,
        env(
            "WRIT_POLICY_FORMER_KEYS",
            "policy's earlier public keys, each with the last version, and the last event of the journal, that it"
            " signed for: KEY@NUMBER@EVENT,KEY@NUMBER@EVENT; without an event it counts for versions only",
        ),
    ] = ""
    plugin_digests: Annotated[
        str,
        env(
            "WRIT_PLUGIN_DIGESTS",
            "other builds of plugins that agents may have, during an upgrade: NAME=DIGEST,NAME=DIGEST with the whole"
            " digests, as `writ plugin list -o json` shows them",
        ),
    ] = ""
    inventory: Annotated[Path, env("WRIT_INVENTORY", "inventory.yaml")]
    principals: Annotated[Path, env("WRIT_PRINCIPALS", "principals.yaml")]
    agents: Annotated[Path, env("WRIT_AGENTS", "agents.yaml: which keys may claim for which pool")]
    people: Annotated[
        Path | None, env("WRIT_PEOPLE", "people.json: the signed directory of people's credentials; may be absent")
    ] = None
    people_key: Annotated[
        str,
        env("WRIT_PEOPLE_KEY", "public key that signs the directory of people's credentials; a comma between several"),
    ] = ""

    def former(self) -> dict[str, int]:
        """Return each former key with the last version of the policy that it may have signed. Raises ConfigError."""
        return {key: version for key, version, _ in self._former()}

    def former_events(self) -> dict[str, int]:
        """Return each former key with the last event of the journal that it may have signed. Raises ConfigError."""
        return {key: event for key, _, event in self._former()}

    def listed_plugins(self) -> dict[str, list[str]]:
        """Return further accepted digests, by plugin. Raises ConfigError."""
        listed: dict[str, list[str]] = {}
        for one in filter(None, map(str.strip, self.plugin_digests.split(","))):
            name, _, digest = (part.strip() for part in one.partition("="))
            if not name or DIGEST.fullmatch(digest) is None:
                raise ConfigError(f"WRIT_PLUGIN_DIGESTS needs NAME=DIGEST (64 hexadecimal digits), not {one!r}")
            listed.setdefault(name, []).append(digest)
        return listed

    def _former(self) -> list[tuple[str, int, int]]:
        parts = [[*one.strip().split("@"), "0"] for one in self.former_keys.split(",") if one.strip()]
        if any(len(one) not in (3, 4) or not one[0] or not all(map(str.isdecimal, one[1:])) for one in parts):
            raise ConfigError(
                "WRIT_POLICY_FORMER_KEYS needs KEY@NUMBER or KEY@NUMBER@EVENT, with commas between: NUMBER is the last "
                "version of the policy that the key signed, such as 3, and EVENT the last event of the journal"
            )
        return [(key, int(version), int(event)) for key, version, event, *_ in parts]
