"""Tests of `lucid.placements`."""
