"""The page that shows all there is to know about a run."""
