"""From CSV files to the rows of one training."""
