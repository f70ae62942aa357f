"""What this machine has and what it lacks, for ``coder-doctor``: facts first, then what they mean."""
