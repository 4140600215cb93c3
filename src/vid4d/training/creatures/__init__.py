"""Animals that nobody made: random bodies, coats and gaits, endlessly many, to train priors on."""
