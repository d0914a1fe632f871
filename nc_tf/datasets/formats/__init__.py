"""File formats of labelled images, one a module."""
