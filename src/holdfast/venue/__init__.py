"""Where orders match and where market data comes from: the paper venue, its feeds and its tapes."""
