"""What the host's network looks like, from the kernel itself: netlink and /proc, no commands."""
