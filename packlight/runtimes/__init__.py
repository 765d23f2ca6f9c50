"""Every runtime a phone offers: write its file, run it, measure it."""
