"""Snapshots of a folder: of a btrfs subvolume by kernel calls, of a zfs dataset by zfs(8)."""
