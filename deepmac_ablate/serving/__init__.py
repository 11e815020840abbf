"""What a trained trial is good for elsewhere: SavedModels, and masks on pictures of one's own."""
