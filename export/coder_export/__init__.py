"""Build side of coder-engine: labels and a CLIP model in, an engine and a weight file out.

This package may import torch; ``coder_engine``, the run side, never imports this package.
"""
