"""The pure core: values, facts, wishes, and the desk that folds them.

No I/O, no clock, no await; the rules stand at the top of the file that owns them.
"""
