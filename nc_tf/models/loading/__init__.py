"""Model files from strangers, opened without running anything in them."""
