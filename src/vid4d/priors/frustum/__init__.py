"""The second-generation prior: one solid thing per frame, in the view frustum of the input camera."""
