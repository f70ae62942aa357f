"""WordNet as expert: its data found, the sense of each class chosen, synonyms, glosses and sister terms."""
