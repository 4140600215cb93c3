"""Building blocks of the networks, and the kernels that make them fast."""
