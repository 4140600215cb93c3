"""Things that nobody made: random animals, plants and vessels, endlessly many, to train priors on."""
