"""The challenge's evaluator: network, augmentation, schedule."""
