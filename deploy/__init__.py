"""Deployment files, and what generates parts of them."""
