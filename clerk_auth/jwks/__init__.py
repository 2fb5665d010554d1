"""Where keys come from: all that ``JWKS_*`` settings and ``jwks_*`` metrics speak of."""
