"""The exam of the general model: structures, their densities by DFT, and every figure of the model's card."""
