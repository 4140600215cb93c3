"""4D Gaussians: parameters, slicing in time, density control, rasterising."""
