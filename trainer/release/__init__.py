"""The publisher's half of signed updates: keys, signatures that are collected, and a repository of static files."""
