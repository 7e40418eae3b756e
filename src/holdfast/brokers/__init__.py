"""One adapter per broker, each behind the `Broker` port."""
