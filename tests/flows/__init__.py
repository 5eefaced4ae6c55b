"""The flows, called in this process against a real Prefect server."""
