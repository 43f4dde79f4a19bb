"""HTML pages from results."""
