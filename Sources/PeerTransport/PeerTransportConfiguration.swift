import OrchestryModel

/// Where a peer listens.
public struct PeerAddress: Hashable, Sendable, CustomStringConvertible {
    /// An IP literal or a name to resolve.
    public var host: String
    /// 1…65535.
    public var port: Int
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Everything a `PeerTransport` needs to know before it starts.
public struct PeerTransportConfiguration: Sendable {
    public enum Security: Sendable {
        /// TLS 1.3 with certificates on both sides; PEM files. The CA file may hold several certificates (rotation).
        case mutualTLS(caPath: String, certificatePath: String, keyPath: String)
        /// No encryption: both sides prove by HMAC-SHA256 that they know the secret, at least 16 bytes of UTF-8.
        case plain(sharedSecret: String)
    }

    /// How long things may take.
    public struct Timing: Sendable {
        /// From the TCP connection to the end of the Hello exchange.
        public var helloTimeout: Duration = .seconds(2)
        public var connectTimeout: Duration = .milliseconds(700)
        /// A Ping is sent on a connection that has been silent this long.
        public var pingAfter: Duration = .milliseconds(500)
        /// A connection that has been silent this long is dead. Also TCP_USER_TIMEOUT, for bytes nobody acknowledges.
        public var silenceLimit: Duration = .seconds(3)
        /// Wait before the first new attempt to connect; doubles with each failure, with jitter.
        public var firstRetry: Duration = .milliseconds(50)
        public var longestRetry: Duration = .seconds(1)
        /// How long a connected node may take to show that it is alive when another process introduces itself under
        /// its name.
        public var duplicateProbe: Duration = .milliseconds(300)
        /// A connection whose peer has not taken in what was written for this long is dead. Longer than the largest
        /// frame takes on a slow line.
        public var stallLimit: Duration = .seconds(15)
        /// How often the round trip is measured on a busy control connection.
        public var measureEvery: Duration = .seconds(5)
        /// After new certificates, standing connections are replaced one after the other, this far apart;
        public var renewalSpacing: Duration = .milliseconds(250)
        /// those that could not be are tried again this often,
        public var renewalRetry: Duration = .seconds(5)
        /// and are closed after this long: nobody stays in whom the present authorities would not let in.
        public var renewalDeadline: Duration = .seconds(30)
        /// Both sides must have said within this long that the replaced connection has ended.
        public var handoverLimit: Duration = .seconds(2)
        public init() {}
    }

    /// How this node introduces itself. A `clusterPort` of 0 is replaced by the port that was bound.
    public var me: NodeInfo
    public var cluster: ClusterID
    /// The address to listen on. A specific one is also the source address of outgoing connections; `0.0.0.0` and `::`
    /// leave that to the system.
    public var listenHost: String
    /// 0: any free port, see `PeerTransport.boundPort`.
    public var listenPort: Int
    /// The cluster's controllers; this node itself may be among them. Of two controllers the one with the lower id
    /// dials; a worker dials all of them.
    public var peers: [NodeID: PeerAddress]
    public var security: Security
    /// A file that the secrets of TLS connections are appended to, for Wireshark; nil: they stay secret.
    public var tlsKeyLogPath: String?
    public var timing = Timing()
    /// Bytes of frames that may wait on one control connection; more are refused to the caller.
    public var controlQueueBytes = 4 << 20
    /// Bytes of frames other than samples that may wait on one bulk connection; more are refused to the caller.
    public var bulkQueueBytes = 32 << 20
    /// Bytes of sample batches that may wait on one bulk connection; beyond it the oldest are dropped and counted.
    public var sampleQueueBytes = 8 << 20
    /// Incoming connections that have not finished the Hello exchange; more are closed at once.
    public var handshakeLimit = 256
    /// The same, from one address.
    public var handshakesPerAddress = 128
    /// All incoming connections from one address.
    public var connectionsPerAddress = 512
    /// Pieces of work one peer may cause that are not done (`PeerHandler.backlog`).
    public var backlogLimit = 256
    /// Election messages and Pings of one connection that are looked at in a second; the fastest profile needs 200.
    public var urgentPerSecond = 2000

    public init(
        me: NodeInfo, cluster: ClusterID, listenHost: String, listenPort: Int, peers: [NodeID: PeerAddress],
        security: Security
    ) {
        self.me = me
        self.cluster = cluster
        self.listenHost = listenHost
        self.listenPort = listenPort
        self.peers = peers
        self.security = security
    }
}
