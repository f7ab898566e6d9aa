"""The executor's side of agents: keys, presence, alarms and notices."""
