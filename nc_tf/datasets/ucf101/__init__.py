"""UCF-101: archives, splits, decoding, clips."""
