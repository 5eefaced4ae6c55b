"""One small file of routes per noun."""
