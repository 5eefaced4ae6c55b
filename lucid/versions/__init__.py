"""A published version: its files, how it comes and goes, and what is computed ahead."""
