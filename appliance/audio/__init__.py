"""Where sound enters: one `AudioSource` protocol, live capture and replay."""
