"""Scores for any pair of entity types; only the decomposition needs torch."""
