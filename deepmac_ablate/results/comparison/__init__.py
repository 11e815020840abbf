"""Two arms, class by class and image by image."""
