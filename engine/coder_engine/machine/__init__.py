"""What this machine has: GPUs, CPUs, installed runtimes, a place to keep things."""
