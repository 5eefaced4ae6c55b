"""The service on one machine: its processes, their watch over each other, and who may ask them."""
