"""The world of generated policies: a few targets and principals, and values for parameters."""

from typing import Any

Data = dict[str, Any]

ROLES = ("production", "staging", "development", "gateway")
INVENTORY: Data = {
    "targets": [
        {"id": "web-1", "role": "production", "backend": "local", "docker": {}, "tags": ["web", "eu"]}
        | {"attributes": {"criticality": "high", "cores": 8, "load": 0.5, "encrypted": True}},
        {"id": "web-2", "role": "production", "backend": "local", "docker": {}, "gateway": "gw-1", "tags": ["web"]}
        | {"attributes": {"criticality": "low", "cores": 2}},
        {"id": "db-1", "role": "staging", "backend": "local", "docker": {}, "gateway": "gw-1", "tags": ["db", "eu"]},
        {
            "id": "dev-1",
            "role": "development",
            "backend": "local",
            "docker": {},
            "attributes": {"criticality": 3, "encrypted": False},
        },
        {"id": "gw-1", "role": "gateway", "backend": "local", "docker": {}, "gateway": "gw-2", "tags": ["eu"]},
    ]
}
PRINCIPALS: Data = {
    "principals": [
        {"id": "alice", "kind": "human", "roles": ["operator", "approver"]},
        {"id": "bob", "kind": "human", "roles": ["sre", "lead"]},
        {"id": "carol", "kind": "human", "roles": ["lead", "approver"]},
        {"id": "dave", "kind": "human", "roles": ["approver"]},
        {"id": "copilot", "kind": "agent", "acts_for": "alice", "roles": ["assistant", "operator"]},
        {"id": "helper", "kind": "agent", "acts_for": "carol", "roles": ["approver"]},
        {"id": "pipeline", "kind": "service", "roles": []},
    ]
}
PEOPLE = [person["id"] for person in PRINCIPALS["principals"]]
PARAMETERS: dict[str, dict[str, list[Any]]] = {
    "service_restart": {"service_name": ["nginx", "ssh", "postgresql"], "timeout": [5, 60, 200]},
    "service_status": {"service_name": ["nginx", "ssh"], "timeout": [5, 10]},
    "file_write": {
        "file_path": ["/srv/a", "/srv/b\u00e9", "/etc/passwd"],
        "content": ["", "x", "a\nPRIVATE", "nginx\n"],
        "mode": ["0600", "0644"],
        "timeout": [5, 60],
    },
    "file_delete": {"file_path": ["/srv/a", "/etc/passwd"], "timeout": [5, 30]},
    "package_install": {
        "package_name": ["nginx", "ssh"],
        "version": ["1.2", "1:3"],
        "keep_packages": [[], ["ssh"], ["linux-*", "ssh"]],
        "timeout": [60, 300],
    },
    "container_create": {
        "container_name": ["nginx", "db"],
        "image": ["nginx", "pg:16"],
        "command": [[], ["sh"], ["sh", "-c", "x"]],
        "env": [{}, {"A": "1"}],
        "memory": [6, 60, 200],
        "cpus": [0.5, 2.0, 5],
        "start": [True, False],
        "allow_privileged": [True, False],
        "timeout": [60, 200],
    },
    "network_scan": {"cidr": ["10.0.0.0/24"], "ports": [[22], [22, 80]], "rate": [1, 60], "timeout": [60]},
    "audit_read": {"query": ["trace", "search"], "principal": ["alice", "bob"], "timeout": [5]},
    "stop_set": {"reason": ["it burns"], "scope": [["*"], ["web-1", "db-1"]], "timeout": [30]},
}
REQUIRED = (
    "service_name",
    "file_path",
    "content",
    "package_name",
    "container_name",
    "image",
    "cidr",
    "query",
    "reason",
)
CONTROL = ("audit_read", "stop_set")
