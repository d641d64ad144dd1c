//! The section `[edge]`.

base::section! {
    /// Delivery: the public HTTP listener, its limits, and the memory cache.
    pub struct Config in "edge" {
        /// Address and port of the public HTTP listener (HTTP/1.1, and HTTP/2 with prior knowledge). Port 0 takes a free one.
        http: String = "\"0.0.0.0:8080\"",
        /// Threads that serve HTTP, each with its own listener and runtime; 0 is one per core.
        workers: usize = "0",
        /// Memory for cached responses, in bytes.
        cache_bytes_max: u64 = "268435456",
        /// Largest response that is cached or shared between clients, in bytes; a larger one is streamed to each client by itself.
        object_bytes_max: u64 = "16777216",
        /// Connections open at once; a further one is answered 503 and closed.
        connections_max: usize = "16384",
        /// Connections open at once from one address; 0 is no limit.
        connections_per_ip_max: usize = "0",
        /// Bytes of one request's line and headers; more is answered 431.
        header_bytes_max: usize = "32768",
        /// Time for a request's headers to arrive, in milliseconds, counted from their first byte (or from the connection's start).
        header_timeout_ms: u64 = "10000",
        /// Time a connection may stay open between requests, in milliseconds.
        idle_timeout_ms: u64 = "75000",
        /// Time a client may take nothing of an answer that waits for it, in milliseconds.
        write_timeout_ms: u64 = "60000",
        /// Largest request body, in bytes, where the route sets no other; more is answered 413.
        request_body_bytes_max: u64 = "1048576",
        /// Time between two pieces of a request body, in milliseconds.
        request_body_timeout_ms: u64 = "30000",
        /// Time for the origin to begin its answer, in milliseconds; a blocked low-latency playlist reload is within it.
        upstream_timeout_ms: u64 = "60000",
        /// Time between two pieces of the origin's body, in milliseconds.
        upstream_idle_timeout_ms: u64 = "30000",
        /// Time that a stopping server gives to running answers, in milliseconds.
        drain_ms: u64 = "10000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_their_types() {
        let config = Config::default();
        assert_eq!(config.http, "0.0.0.0:8080");
        assert!(config.object_bytes_max < config.cache_bytes_max);
    }
}
