"""Defenses, one file each. They see a model and clean samples, and nothing else: no trigger, no test set."""

from detrojan.registry import Registry

DEFENSES = Registry("defense", __name__)
