"""What a run is computed with: the machine, its threads, random numbers."""
