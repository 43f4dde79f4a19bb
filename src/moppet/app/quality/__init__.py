"""`moppet quality`: made faces and real ones in, figures and a page out."""
