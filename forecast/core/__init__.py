"""Records, units, errors and packaged data: what every other layer may use."""
