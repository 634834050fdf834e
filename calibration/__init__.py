"""Makes what a station must know about its own picture: the limits of a normal one."""
