"""Scores of a network on clean and on triggered test data; the only room that may see a trigger after training."""
