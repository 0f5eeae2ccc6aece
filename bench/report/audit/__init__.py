"""The audit in a report: what its stages and the results themselves tell, as findings."""
