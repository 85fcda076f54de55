"""The probe-point network: equivariant messages between atoms, then from atoms to the points that are asked for."""
