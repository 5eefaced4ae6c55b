"""Trainings from start to end."""
