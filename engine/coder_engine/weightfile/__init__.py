"""What is in a weight file: its tensors, its metadata, its texts."""
