"""Notifications of urgent events to people, by webhook, ntfy or Apprise, after the event is recorded. Nobody can decide
by them.
"""
