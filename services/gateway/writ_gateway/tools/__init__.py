"""The tools, by purpose: finding, requesting, following, judging, windows."""
