"""The frustum prior: one solid thing per frame, in the view frustum of the input camera."""
