"""The ancestors' call signatures, on top of Milepost."""
