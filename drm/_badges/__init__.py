"""What ``github_badge_generator`` is made of: what badges say, how one is drawn, how a README shows it."""
