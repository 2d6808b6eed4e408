"""What the streaming benchmark measures, each subject in a module of its own."""
