"""What a text set has, what is wrong with it, and all texts of one class."""
