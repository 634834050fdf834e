"""Other ways to keep labelled pictures, read into one kind of value; what is broken is named by file and line."""
