"""Assets of any tool against a truth, under a stated protocol; results that can be compared."""
