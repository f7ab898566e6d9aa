"""The agents as an executor sees them: keys, presence, alarms and notices."""
