"""Who plays Clerk: the local issuer, its tokens good and bad, and a stand-in that serves keys."""
