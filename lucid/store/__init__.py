"""What is under `LUCID_HOME` and how it is written: files, locks, mapped arrays, DuckDB, the catalog."""
