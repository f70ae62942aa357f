"""Labelled images -> few-shot adapter, by an engine: what coder-fit does."""

from coder_engine.fit.run import FitConfig, Fitted, fit_engine, general_texts
from coder_engine.fit.summary import summary

__all__ = ["FitConfig", "Fitted", "fit_engine", "general_texts", "summary"]
