"""The host's network by the kernel (netlink, /proc), and reachability from the host. No commands are run."""
