"""What a release is made with: locks with hashes, and a look at what is installed."""
