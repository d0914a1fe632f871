"""File formats of labelled images, one format a module."""
