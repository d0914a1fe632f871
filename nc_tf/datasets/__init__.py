"""Data sets: files of labelled images, GTSRB, and rendered traffic signs that need no download."""
