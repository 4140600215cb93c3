"""How the shipped weights were made: models, rendering of training views, trainers."""
