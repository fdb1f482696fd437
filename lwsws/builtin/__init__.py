"""Bundled protocols, one file each; they use only the public interface, lwsws.plugin."""
