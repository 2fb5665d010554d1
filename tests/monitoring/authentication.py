"""An authentication class for the tokens of two Clerk instances."""

from clerk_auth.authentication import ClerkAuthentication


class AnybodyAuthentication(ClerkAuthentication):
    instances = ("default", "staff")
