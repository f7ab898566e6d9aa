"""High-level tools over `Writ`, for scripts and the MCP gateway. They return plain dictionaries.

Names, arguments and result keys are those of the specification's `CapabilityTools` and `PolicyManagementTools`.
"""
