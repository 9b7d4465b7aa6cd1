"""Archives: members listed and read in place, or unpacked; hostile until shown otherwise."""
