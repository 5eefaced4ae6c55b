"""The tables of the catalog, a file each, with the numbered migrations that make them."""
