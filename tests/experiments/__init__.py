"""What came of recommendations."""
