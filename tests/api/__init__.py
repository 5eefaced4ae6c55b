"""The HTTP API alone, without Prefect."""
