"""Where placement and the servers differ: what they lack (`heal`), what nobody needs (`audit`), which aggregates are
not mirrored (`mirrors`). Pure plans over what `records` reads; operators' commands and the super conductors carry them
out, guarded like every other write."""
