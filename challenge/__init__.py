"""Timed generative dataset distillation: class labels in, a training set out, within the limit."""
