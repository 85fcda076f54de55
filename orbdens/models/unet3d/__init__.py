"""The 3D U-Net: its options, its network, how it learns."""
