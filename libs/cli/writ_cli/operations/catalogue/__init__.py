"""Commands for the available operations and targets: lists, tests of targets, scans."""
