"""Training of the shipped weights: models, rendering of training views, trainers."""
