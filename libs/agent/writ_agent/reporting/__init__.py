"""Messages from an agent to executors: receipts, heartbeats, progress, security reports."""
