"""Rendered data sets, without a download: traffic signs and moving shapes."""
