"""Enrolment of an agent's host by a one-time token."""
