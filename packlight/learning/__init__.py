"""Training: networks that learn, whatever they are taught by."""
