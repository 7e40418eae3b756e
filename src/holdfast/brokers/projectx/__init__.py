"""ProjectX (TopstepX): its messages in the desk's words; whatever calls its servers is apart."""
