"""The host's network as the kernel tells it (netlink, /proc), and what can be reached from the host. No commands."""
