"""Sources: where a dataset's files lie, as a list of files to download."""
