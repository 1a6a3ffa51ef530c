"""How fast a machine makes images: rows beside a ceiling and the plain pipeline, in one process."""
