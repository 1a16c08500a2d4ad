"""One law per file, each as `LAW`; a new file here is found by itself."""
