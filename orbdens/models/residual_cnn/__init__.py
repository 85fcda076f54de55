"""The residual convolutional network: free atoms in, the density out, as in the super-resolution of images."""
