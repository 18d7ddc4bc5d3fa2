"""Writers of predictions and of labels, in the formats of the field."""
