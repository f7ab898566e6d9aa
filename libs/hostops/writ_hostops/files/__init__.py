"""Files: paths beneath declared roots, everything by descriptor, writes atomic and durable."""
