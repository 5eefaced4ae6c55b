"""How well held-out interactions are found again."""
