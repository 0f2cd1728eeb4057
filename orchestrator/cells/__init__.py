"""What is known of a cell without training it, beside what the paper prints of it."""
