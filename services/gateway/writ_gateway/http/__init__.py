"""MCP over streamable HTTP: each client has a bearer token of one principal."""
