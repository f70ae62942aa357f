"""coder-bench: what each stage of an engine costs on this machine, beside its peers, in one run."""
