"""What a report is made from, kept beside it: plan, manifests, episodes, looks, certificate."""
