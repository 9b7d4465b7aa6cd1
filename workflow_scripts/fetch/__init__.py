"""Fetch: bring a dataset's files into place and list them, with checksums, in a manifest."""
