"""Policy's endpoints: decisions and grants for executors, queries of principals, reports of scanners."""
