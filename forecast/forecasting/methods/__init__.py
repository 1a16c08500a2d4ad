"""One method per file; each file has `METHODS`, the methods it offers."""
