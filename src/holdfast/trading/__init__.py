"""Programs that trade through an order manager: the replay of tapes, and the demonstration."""
