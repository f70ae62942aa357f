"""How good the answers are on labelled images, and what is fitted on them: arrays in, numbers out."""
