"""Snapshots of a folder that is a btrfs subvolume, by the kernel's own calls, or a zfs dataset, by zfs(8)."""
