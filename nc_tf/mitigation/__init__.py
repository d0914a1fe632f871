"""Taking a backdoor out again, one method a file."""
