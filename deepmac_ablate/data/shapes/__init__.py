"""The built-in synthetic dataset of textured shapes."""
