"""How what ships with orbdens was made."""
