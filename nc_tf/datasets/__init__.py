"""Data sets: labelled images in files and folders, GTSRB, CIFAR-10, UCF-101, and rendered ones without a download."""
