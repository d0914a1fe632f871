"""The results of scans and repairs for people: page, figures, notebook, TensorBoard."""
