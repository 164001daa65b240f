"""The verbs, one file each; the file name is the verb, and `run` is what it does."""
