"""The orbital model: basis, equivariant network, and the head that turns features into coefficients."""
