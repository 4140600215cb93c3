"""The method Consistent4D: a clip becomes a cascade DyNeRF under the scores of an image prior."""
