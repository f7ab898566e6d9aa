"""High-level tools over `Writ` that return plain dictionaries: for scripts, and for the MCP gateway.

Names, arguments and result keys are those of the mission's `CapabilityTools` and `PolicyManagementTools`.
"""
