"""The Auto Text Generator (paper, section 4.2): label names in, a text set out."""
