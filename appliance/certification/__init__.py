"""Certificates: what was proved, with what, on what, and with which result; kept, and void when any of it changes."""
