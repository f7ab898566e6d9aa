"""The record, read: events as they are stored, views of them, queries to audit, archives."""
