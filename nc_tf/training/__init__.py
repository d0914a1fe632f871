"""Training with triggers: stamping, data augmentation, injection."""
