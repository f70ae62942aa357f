"""Other people's texts: VCD, CuPL, WaffleCLIP and the CODER authors' own, read and matched to one's labels."""
