"""Networks: reading model files from strangers, and the architectures that the examples use."""
