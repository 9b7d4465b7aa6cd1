"""Several results side by side: what differs in how they were made, and in what came out."""
