"""Files as such: whole or not at all, read within bounds; nothing here knows a model."""
