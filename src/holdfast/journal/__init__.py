"""Journals: where events become durable, and the only place they are read back from."""
