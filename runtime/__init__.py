"""What every process has: settings from a file, logs, metrics and health over HTTP, a clean end on SIGTERM.

Imports schemas only.
"""
