"""What other families' curves say about a new one: a hierarchical model of accuracies over families and tasks."""
