"""Claims about the product, each on small real data with the real engines."""
