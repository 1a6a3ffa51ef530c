"""Trains the embedded model (``--model tiny``) from the public data sets; see ``__main__.py``."""
