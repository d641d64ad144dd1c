base::section! {
    /// The control API below `/api/v1`: who may come in without a token, and how webhooks go out.
    pub struct Config in "api" {
        /// Whether a client on this machine needs no token. It must ask for `localhost`, `127.0.0.1` or `[::1]`, and no foreign web page
        /// may be behind it. Switch it off when a proxy on this machine passes requests of others on.
        loopback: bool = "true",
        /// Whether webhooks may go to private addresses (10.0.0.0/8, 192.168.0.0/16, loopback, ...).
        webhook_private: bool = "false",
        /// Time for a webhook's receiver to answer, in milliseconds (100 to 60,000).
        webhook_timeout_ms: u64 = "15000",
        /// Most event streams (`GET /api/v1/events`) open at once; a further one is answered 503.
        event_streams_max: usize = "512",
    }
}
