"""`moppet compare`: a timeline beside the codes of one or two people."""
