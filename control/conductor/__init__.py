"""Carries operations out: `engine` finds and runs them, `sagas/` say what they are, `cell` and `top` are the shells."""
