"""One run of offline.compress: its recipe, and the folder that keeps its state."""
