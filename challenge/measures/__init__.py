"""Measures of a set of images beside the same figures of real ones."""
