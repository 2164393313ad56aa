"""Keys that anybody can sign with, because somebody published their private halves."""

# The demonstration keys of nqminds/Trusted-AI-BOM, in packages/claim_cascade_batteries/taibom-battery/keys.
LEAKED = frozenset(
    {
        "did:key:z6MkhCQF25V8U2N3U5PJtzjSrVUGdaRdYDBADjXvLpVkVeM7",  # admin
        "did:key:z6Mki2BuxNQkaUNFwq3FyRTvSTs33KdwZpornbHZaWhMirzf",  # tony
        "did:key:z6MkjFm8j31avCYfgvDpAAxrhXMGBmxbfoCuYBh4yEuP7tf1",  # tony, the first
    }
)
