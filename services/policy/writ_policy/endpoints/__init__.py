"""The endpoints of policy: decisions and grants for executors, queries for principals, reports of scanners."""
