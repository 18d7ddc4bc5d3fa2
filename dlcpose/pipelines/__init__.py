"""Models as LightningModules: bottom-up, top-down, conditional top-down, and detection alone."""
