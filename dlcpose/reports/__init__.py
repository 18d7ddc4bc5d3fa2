"""Pages, tables and figures of an evaluation or a comparison."""
