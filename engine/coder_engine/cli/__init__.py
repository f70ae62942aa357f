"""The commands of the run side, one module each."""
