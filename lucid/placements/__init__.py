"""Placements: rules of a shop for what is shown, kept as versions of files and applied to what a model says."""
