"""Separators built on FLUX.1 Kontext, an image editor by flow matching (needs the extra [flux])."""
