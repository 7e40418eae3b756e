"""Benchmarks of Holdfast: `python -m bench` measures each against its goal. See README.md."""
