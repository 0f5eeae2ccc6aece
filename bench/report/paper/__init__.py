"""What a paper needs of a report: tables for LaTeX, citations, and sentences on the method."""
