"""From any source to the ladders and columns that laws and forecasts read, by one rule."""
