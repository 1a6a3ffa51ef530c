"""Image generators: prompts and seeds in, pictures in [0, 1] out. What a run expects: base.py."""
