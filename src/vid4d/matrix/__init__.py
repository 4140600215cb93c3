"""`ImageMatrix`, V views x T times of one object: its files, those of other tools, confidence, cleanup."""
