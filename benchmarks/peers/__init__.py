"""Other planning libraries on the same model."""
