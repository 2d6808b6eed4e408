"""What the headline benchmark measures, each subject in a module of its own."""
