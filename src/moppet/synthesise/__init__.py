"""Pictures that are made: learned from a data set's own faces, or by a diffusion model."""
