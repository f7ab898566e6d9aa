"""Make recorded decisions of policy a second time, from the record and the files of that time."""
