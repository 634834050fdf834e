"""The device's half of signed updates: what is believed, how it gets here, that it is never older."""
