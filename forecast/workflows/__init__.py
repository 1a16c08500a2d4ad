"""What the commands do, as a library: the only place where sibling packages meet."""
