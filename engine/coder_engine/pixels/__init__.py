"""What reading images is made of: formats, JPEG, colours, resize."""
