"""The command line: one module per command, a frame that reads arguments and reports errors."""
