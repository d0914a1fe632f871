"""Training with stamped images: injection, clips, data augmentation."""
