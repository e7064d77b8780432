"""One function an operation: `async def verb(call) -> body`. One noun a file."""
