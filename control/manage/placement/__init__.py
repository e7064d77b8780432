"""`kilonova placement`: what operators do where placement and the servers differ. Each command is a pure plan
(`heal`, `audit`, `mirrors`) over records that `records` reads, and its execution, guarded like every other write. They
work with every service stopped."""
