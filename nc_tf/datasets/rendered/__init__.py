"""Data sets that are drawn, without a download: traffic signs and moving shapes."""
