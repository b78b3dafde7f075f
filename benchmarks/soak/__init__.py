"""The bad day: uneven suites run one after another under every fault there is; then everything must add up."""
