"""Commands of `vid4d`, a file each: a frozen dataclass of its options, with a `run` method."""
