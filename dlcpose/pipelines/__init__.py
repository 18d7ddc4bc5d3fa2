"""LightningModules that join backbone, neck and head."""
