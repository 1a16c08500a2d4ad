"""Other people's results, read into our records."""
