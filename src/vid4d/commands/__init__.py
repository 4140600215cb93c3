"""Commands of `vid4d` beside the main ones of `cli.py`: each a frozen dataclass with a `run` method."""
