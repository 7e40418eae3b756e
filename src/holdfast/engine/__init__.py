"""The shell around the desk: one writer, the account link, callers, callbacks and their bounds."""
