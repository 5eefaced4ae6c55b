"""From a query to its answer; needs neither torch nor Prefect."""
