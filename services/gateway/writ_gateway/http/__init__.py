"""Many MCP clients over streamable HTTP, each with a bearer token that stands for one principal."""
