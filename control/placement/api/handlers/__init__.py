"""What each operation does, one noun a file: parse what the schema let through, ask the view or the writer, answer."""
