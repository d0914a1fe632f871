"""Methods that remove a backdoor, one a file, and their registry."""
