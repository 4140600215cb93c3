"""The prior that ships with the package: a lifted volume, and diffusion that sees it."""
