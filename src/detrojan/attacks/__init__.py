"""Attacks, one file each: how a backdoored victim is made, and how its trigger is stamped for evaluation."""

from detrojan.registry import Registry

ATTACKS = Registry("attack", __name__)
