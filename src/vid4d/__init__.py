"""vid4d: an ordinary video of one moving object becomes a 4D asset."""

__version__ = "0.1.0"
