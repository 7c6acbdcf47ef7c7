"""Results as text, tables, figures and progress."""
