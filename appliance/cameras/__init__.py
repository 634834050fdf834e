"""Where pictures come from: one file per technology, all of them `ports.Camera`."""
