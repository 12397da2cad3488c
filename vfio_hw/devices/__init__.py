"""The devices themselves, as a user-space driver sees them through their regions."""
