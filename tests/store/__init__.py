"""Files, locks, the machine, the catalog."""
