"""The HTTP API: parses, makes one call into `lucid`, replies. Starts flows by their deployments' names."""
