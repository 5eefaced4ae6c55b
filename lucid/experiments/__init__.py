"""What came of recommendations: answers that are noted, attribution of events to them, and experiments."""
