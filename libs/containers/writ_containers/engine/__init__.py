"""A Docker engine over its HTTP API: its address, its connections, about a dozen calls, its errors as ours."""
