"""Files as such: written whole or not at all, and read within bounds. Models are the matter of other packages."""
