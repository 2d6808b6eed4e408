"""Resolution: turns names of parts into outcomes."""
