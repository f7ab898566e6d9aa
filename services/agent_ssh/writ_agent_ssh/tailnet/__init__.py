"""Targets on a tailnet: the peers that tailscaled knows, and the ways to them."""
