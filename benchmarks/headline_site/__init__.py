"""The project that the headline benchmark serves: the demo shop, and dashboards around it."""
