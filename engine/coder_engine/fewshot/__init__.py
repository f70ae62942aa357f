"""CODER-Adapter: few-shot classification from features, in NumPy (Eq. 16-20), with its spectral form."""

from coder_engine.fewshot.adapter import CoderAdapter
from coder_engine.fewshot.folds import Validation
from coder_engine.fewshot.search import Grid, Search, search_adapter
from coder_engine.fewshot.spectrum import Form, Spectrum

__all__ = ["CoderAdapter", "Form", "Grid", "Search", "Spectrum", "Validation", "search_adapter"]
