"""Text sets that ship with coder-export: data only, one folder a set."""
