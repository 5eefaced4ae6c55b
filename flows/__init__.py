"""Prefect flows: each task is one call of a `lucid` function."""
