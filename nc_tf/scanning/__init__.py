"""Which labels are searched, with how many restarts, and where they run."""
