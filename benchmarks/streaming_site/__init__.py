"""The project that the streaming benchmark serves: views whose parts sleep, wait or are large."""
