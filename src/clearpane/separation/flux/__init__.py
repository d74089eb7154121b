"""Separators built on FLUX.1 Kontext, a flow-matching image editor (needs the extra [flux])."""
