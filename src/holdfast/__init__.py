"""Holdfast: the order manager between a trading program and its brokers."""

__version__ = "0.1.0"
