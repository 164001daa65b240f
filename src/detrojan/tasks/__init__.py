"""Tasks, one file each: what a batch, a loss, a prediction and a score mean."""

from detrojan.registry import Registry

TASKS = Registry("task", __name__)
