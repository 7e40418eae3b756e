"""Shipped for those who build on Holdfast: conformance kits, and a deterministic world."""
