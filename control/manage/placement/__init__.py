"""`kilonova placement`: serves the API alone, and what operators do where placement and the servers differ. Its
commands read the stores alone: they work with every service stopped."""
