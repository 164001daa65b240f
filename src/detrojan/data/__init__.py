"""Samples: reading the formats that the field uses, and taking a clean part of them."""
