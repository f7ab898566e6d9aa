"""Recorded decisions of policy, made a second time from what is on record and the files of that time."""
