"""One function a verb: what the command line calls and a notebook imports."""
