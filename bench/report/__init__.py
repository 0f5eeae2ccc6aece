"""From the store to markdown, figures and tables."""
