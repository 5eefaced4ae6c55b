"""Entities leave for good: requests for it, and what is done to batches and models."""
