"""Video enhancer (Consistent4D, 2311.02848): renders of one asset, made sharper by a network of their own."""
