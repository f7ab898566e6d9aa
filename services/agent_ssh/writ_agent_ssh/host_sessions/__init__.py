"""hostops on each host, kept open on one connection: opened when needed, renewed when lost, set aside when harmful."""
