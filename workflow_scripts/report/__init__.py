"""One self-contained page on everything that was made, and its figures as files of their own."""
