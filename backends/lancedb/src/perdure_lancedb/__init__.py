"""perdure over LanceDB's tables, in a directory or on object storage."""
