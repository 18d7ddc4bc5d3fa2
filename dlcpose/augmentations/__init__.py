"""What is random about the input, as albumentations."""
