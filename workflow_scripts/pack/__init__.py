"""Pack: from manifests or day files to a corpus, shards with an `index.json`."""
