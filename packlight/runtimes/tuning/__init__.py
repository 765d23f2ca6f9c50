"""What `tune` tries and keeps: forms of layers with equal answers, settings of sessions."""
