"""Triangle meshes of splats and of DyNeRFs, at one moment and over time, and their textures."""
