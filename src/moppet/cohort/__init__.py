"""Many recordings: a study's tables, group statistics, dyads, and reliability."""
