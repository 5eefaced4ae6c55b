"""CSV files become batches, and batches become the rows of one training."""
