"""UCF-101: its archives, official splits, decoding, and clips."""
