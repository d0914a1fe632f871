"""Pictures for people, made from results alone."""
