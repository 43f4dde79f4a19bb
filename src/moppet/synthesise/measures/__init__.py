"""How far made faces are from real ones: numbers in, figures out. Undefined is NaN."""
