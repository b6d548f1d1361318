package struct RestFacadeConfiguration: Sendable {
    /// Address or name to listen on.
    package var host: String
    /// 0…65,535; 0 takes any free port.
    package var port: Int
    /// Largest request body, bytes. Larger ones get 413 and are not kept in memory.
    package var maxBodyBytes: Int
    /// From a request's first byte to its answer; then 504.
    package var requestTimeout: Duration
    /// A connection on which nothing arrives for this long, and no request is being answered, is closed.
    package var idleTimeout: Duration
    /// How many streams (events, logs) may be open at once; one more gets 503.
    package var maxStreams: Int
    /// A client of a stream that takes nothing for this long is cut off.
    package var streamStall: Duration
    /// A stream on which nothing happens says so after this long.
    package var streamHeartbeat: Duration
    /// Origins (`https://host[:port]`) whose pages may use the API from a browser.
    package var corsOrigins: Set<String>
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    package var proxies: Set<String>
    /// What `/health` and `/openapi.json` show.
    package var version: String

    package init(
        host: String = "127.0.0.1", port: Int = 8000, maxBodyBytes: Int = 1 << 20,
        requestTimeout: Duration = .seconds(30), idleTimeout: Duration = .seconds(75),
        corsOrigins: Set<String> = [], proxies: Set<String> = [], maxStreams: Int = 500,
        streamStall: Duration = .seconds(20), streamHeartbeat: Duration = .seconds(15), version: String
    ) {
        self.host = host
        self.port = port
        self.maxBodyBytes = maxBodyBytes
        self.requestTimeout = requestTimeout
        self.idleTimeout = idleTimeout
        self.maxStreams = maxStreams
        self.streamStall = streamStall
        self.streamHeartbeat = streamHeartbeat
        self.corsOrigins = corsOrigins
        self.proxies = proxies
        self.version = version
    }
}
