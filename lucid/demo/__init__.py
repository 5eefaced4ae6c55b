"""A show of the whole path: generated data with known tastes, and a client that uses the service as customers do."""
