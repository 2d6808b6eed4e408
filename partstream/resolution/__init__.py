"""Resolution: names of parts become outcomes."""
