"""Queries to the services: operations, targets, the record, access and the policy."""
