"""Dashboards of Grafana, and what generates them."""
