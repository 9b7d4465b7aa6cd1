"""Transfer: files over HTTP, resumed, retried, verified while they stream, and secrets kept."""
