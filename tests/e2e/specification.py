"""The Python snippets of the specification of the Policy-Driven Execution System, with their differences in Writ.

Replacements are textual; the table in docs/python.md gives a reason for each. All the rest runs verbatim.
"""

from typing import NamedTuple


class Snippet(NamedTuple):
    """`replaced`: (of the specification, in Writ)."""

    section: str
    code: str
    replaced: tuple[tuple[str, str], ...] = ()


CAPABILITY_TOOLS = (
    "from src.tools.capability_tools import capability_tools",
    "from writ_client.tools.capability_tools import CapabilityTools\ncapability_tools = CapabilityTools(writ)",
)
POLICY_TOOLS = (
    "from src.tools.capability_tools import policy_management_tools",
    (
        "from writ_client.tools.policy_management_tools import PolicyManagementTools\n"
        "policy_management_tools = PolicyManagementTools(writ)"
    ),
)
SNIPPETS = (
    Snippet(
        "Basic Operation Execution",
        """\
from src.tools.capability_tools import capability_tools

# Execute a service restart
result = await capability_tools.execute_service_restart(
    service_name="nginx",
    target_id="prod-web-01",
    requested_by="admin@company.com",
    timeout=60
)

print(f"Operation result: {result}")
""",
        (CAPABILITY_TOOLS,),
    ),
    Snippet(
        "Policy Simulation",
        """\
# Simulate an operation with policy checks
simulation = await capability_tools.simulate_operation(
    operation_type="container_delete",
    target_id="dev-test-01",
    requested_by="developer@company.com",
    parameters={
        "container_name": "test-container",
        "force": False
    },
    target_role="development"
)

print(f"Policy decision: {simulation['policy_evaluation']['decision']}")
""",
    ),
    Snippet(
        "Policy Management",
        """\
from src.tools.capability_tools import policy_management_tools

# Get current policy status
status = await policy_management_tools.get_policy_status()

# List allowed operations for production
allowed = await policy_management_tools.list_allowed_operations(
    target_role="production",
    user_id="admin@company.com"
)

print(f"Allowed operations: {allowed['allowed_operations']}")
""",
        (POLICY_TOOLS,),
    ),
    Snippet(
        "Parameter Validation",
        """\
# Validate operation parameters
validation = await capability_tools.validate_operation_parameters(
    operation_type="service_restart",
    parameters={
        "service_name": "nginx",
        "timeout": 60
    }
)

if validation['valid']:
    print("Parameters are valid")
else:
    print(f"Validation errors: {validation['errors']}")
""",
    ),
    Snippet(
        "Initialize Policy Engine",
        """\
from src.services.policy_engine import PolicyEngine
from src.utils.audit import AuditLogger

audit_logger = AuditLogger()
policy_engine = PolicyEngine(
    config_path="/etc/systemmanager/policy.yaml",
    audit_logger=audit_logger
)
""",
        (
            ("from src.services.policy_engine import PolicyEngine\n", ""),
            ("from src.utils.audit import AuditLogger\n\naudit_logger = AuditLogger()\n", ""),
            (
                (
                    'policy_engine = PolicyEngine(\n    config_path="/etc/systemmanager/policy.yaml",\n'
                    "    audit_logger=audit_logger\n)"
                ),
                'from writ_client import Writ\nwrit = await Writ.from_context("admin.json")',
            ),
        ),
    ),
    Snippet(
        "Setup Capability Executor",
        """\
from src.services.capability_executor import CapabilityExecutor
from src.services.execution_factory import execution_backend_factory

capability_executor = CapabilityExecutor(
    policy_engine=policy_engine,
    execution_factory=execution_backend_factory,
    audit_logger=audit_logger
)
""",
        (
            ("from src.services.capability_executor import CapabilityExecutor\n", ""),
            (
                "from src.services.execution_factory import execution_backend_factory",
                (
                    "from types import SimpleNamespace\nfrom functools import partial\n"
                    "from writ_client.tools.backend_tests import test_all_backends\n"
                    "execution_backend_factory = SimpleNamespace(test_all_backends=partial(test_all_backends, writ))"
                ),
            ),
            (
                (
                    "capability_executor = CapabilityExecutor(\n    policy_engine=policy_engine,\n"
                    "    execution_factory=execution_backend_factory,\n    audit_logger=audit_logger\n)"
                ),
                "",
            ),
        ),
    ),
    Snippet(
        "Initialize MCP Tools",
        """\
from src.tools.capability_tools import initialize_capability_tools

initialize_capability_tools(
    capability_executor=capability_executor,
    policy_engine=policy_engine,
    audit_logger=audit_logger
)
""",
        (
            ("from src.tools.capability_tools import initialize_capability_tools\n", ""),
            (
                (
                    "initialize_capability_tools(\n    capability_executor=capability_executor,\n"
                    "    policy_engine=policy_engine,\n    audit_logger=audit_logger\n)"
                ),
                "capability_tools, policy_management_tools = CapabilityTools(writ), PolicyManagementTools(writ)",
            ),
        ),
    ),
    Snippet(
        "Policy Configuration Errors",
        """\
# Validate policy configuration
validation = await policy_management_tools.validate_policy_config(config_data)
if not validation['valid']:
    print(f"Errors: {validation['errors']}")
""",
    ),
    Snippet(
        "Operation Denials",
        """\
# Check why operation was denied
simulation = await capability_tools.simulate_operation(...)
print(f"Policy reason: {simulation['policy_evaluation']['reason']}")
""",
        (("(...)", '("service_restart", "prod-web-01", parameters={"service_name": "nginx"})'),),
    ),
    Snippet(
        "Backend Connectivity",
        """\
# Test backend connectivity
backend_factory = execution_backend_factory
test_results = await backend_factory.test_all_backends()
for backend_type, result in test_results.items():
    print(f"{backend_type}: {result.status}")
""",
    ),
)
OPERATIONS = [
    "service_restart", "service_start", "service_stop", "service_status",
    "container_create", "container_delete", "container_start",
    "container_stop", "container_restart", "container_inspect",
    "stack_deploy", "stack_remove", "stack_update",
    "backup_create", "backup_restore", "backup_list", "backup_delete",
    "snapshot_create", "snapshot_delete", "snapshot_restore", "snapshot_list",
    "file_read", "file_write", "file_delete", "file_copy",
    "network_scan", "network_test", "network_status",
    "package_update", "package_install", "package_remove", "package_list",
]  # fmt: skip
TOOLS = {
    "execute_service_restart": {"service_name", "target_id", "requested_by", "timeout"},
    "simulate_operation": {"operation_type", "target_id", "requested_by", "parameters", "target_role"},
    "validate_operation_parameters": {"operation_type", "parameters"},
    "get_operation_status": {"operation_id"},
    "get_policy_status": set[str](),
    "list_allowed_operations": {"target_role", "user_id"},
    "validate_policy_config": {"config_data"},
    "get_policy_history": {"limit"},
    "simulate_policy_scenario": {"operation_type", "target_role", "user_id", "parameters"},
    "execute_container_operation": {"operation_type", "container_name", "target_id", "requested_by"},
    "execute_stack_operation": {"operation_type", "stack_name", "target_id", "requested_by"},
    "execute_backup_operation": {"operation_type", "backup_id", "target_id", "requested_by"},
}
"""Each tool with its arguments."""
ROLES = ["gateway", "production", "development", "staging", "testing", "maintenance"]
VARIABLES = [
    "SYSTEMMANAGER_POLICY_CONFIG",
    "SYSTEMMANAGER_POLICY_MODE",
    "SYSTEMMANAGER_ENABLE_DRY_RUN",
    "SYSTEMMANAGER_AUDIT_LEVEL",
]
FILES = ["config/policy-examples/production-security-focused.yaml", "config/policy-examples/development-flexible.yaml"]
PARAMETERS = {
    "service_restart": {"service_name": "nginx", "timeout": 60},
    "container_delete": {"container_name": "test-container", "force": False},
}
"""Of its examples."""
POLICY = """
policies:
  version: "v2"
  name: "Policy Name"
  description: "Policy description"
  deny_by_default: true
  enable_dry_run: true
  require_approval_for_admin: true

  global_policies:
    - name: "rule_name"
      description: "Rule description"
      enabled: true
      operations: [service_restart, container_inspect]
      target_roles: [production, staging]
      allowed: true
      requires_approval: false
      parameter_constraints:
        service_name:
          type: "string"
          required: true
          max_length: 64
          pattern: "^[a-zA-Z0-9][a-zA-Z0-9_-]*$"
        timeout:
          type: "int"
          required: false
          min: 1
          max: 300
          default: 60
        container_name:
          type: "string"
          required: true
          max_length: 64
          allowlist_source: "list_containers"  # Dynamic validation
      time_restrictions:
        - start_time: "08:00"
          end_time: "18:00"
          days_of_week: [1,2,3,4,5]  # Monday-Friday
          timezone: "UTC"

  role_policies:
    production:
      - # Production-specific rules
    development:
      - # Development-specific rules

  emergency_policies:
    - # Emergency override rules
"""
"""Its parts of a policy put together, with operations and roles for the placeholders."""
