"""Files: written whole or not at all, listed, and read with checks."""
