"""Computing: the machine, its threads, random numbers."""
