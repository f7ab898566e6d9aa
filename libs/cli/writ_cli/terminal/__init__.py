"""Output for people and programs: tables, sentences, JSON, errors and exit statuses."""
