"""The results file: spool, DuckDB, views, queries."""
