"""Pictures and videos: as tensors, and as files."""
