"""Consistent4D (2311.02848): a clip becomes a cascade DyNeRF under the scores of an image prior."""
