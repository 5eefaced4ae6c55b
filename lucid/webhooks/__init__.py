"""Callbacks to customers: where they may go, one call with one deadline, what is owed."""
