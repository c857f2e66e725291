"""Tasks: data, template, labels and the train/validation/test split."""
