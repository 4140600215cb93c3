"""Many clips: a folder of runs that several processes and machines fill together."""
