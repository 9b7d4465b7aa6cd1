"""What was made, from what, how and by which code, as a Workflow Run RO-Crate."""
