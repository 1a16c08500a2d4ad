"""Cards in models/ and tasks/, read and validated into records."""
