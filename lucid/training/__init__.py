"""A training from start to end: what it chooses, how it chooses, and what it reports."""
