"""The MCP gateway: operations of Writ as tools of AI agents. It requests what its caller may, and approves nothing."""
