import OrchestryModel

/// How a node reaches its container engine, and what its containers share.
package struct EngineConfiguration: Sendable {
    /// How the proxy and the probes reach a container.
    package enum EndpointMode: Hashable, Sendable {
        /// By the container's own address on the dedicated network: the engine runs on this host.
        case container
        /// By a port of the host that the engine chooses, bound to this IPv4 address of the host.
        case published(hostAddress: String)
    }

    /// Where the Engine API listens: an absolute path of a unix socket.
    package var socketPath: String
    /// `host:port` of an Engine API without TLS; used instead of the socket when set.
    package var tcpAddress: String?
    package var cluster: ClusterID
    package var node: NodeID
    /// The dedicated bridge network, 1…63 of `a-z A-Z 0-9 _ . -`. Nodes of one cluster on one engine share it.
    package var network: String
    package var endpointMode: EndpointMode
    /// For calls that the engine answers at once. Starting, stopping and pulling have limits of their own.
    package var requestTimeout: Duration
    /// For a start, which may wait for disks and for other containers' starts.
    package var startTimeout: Duration
    /// For a whole pull.
    package var pullTimeout: Duration
    /// Options of the engine's `json-file` log driver. Bounded by default: three files of 10 MB.
    package var logOptions: [String: String]
    /// Runs the image's program under the engine's own `init`, which forwards signals and reaps orphans.
    package var usesInit: Bool
    package var policy: HostPolicy

    /// The network of an app's containers. No two pairs of network and app give the same text: names of apps have no dots.
    package func network(of spec: AppSpec) -> String { spec.isIsolated ? "\(network).\(spec.name)" : network }

    package init(
        socketPath: String = "/var/run/docker.sock", tcpAddress: String? = nil, cluster: ClusterID, node: NodeID,
        network: String? = nil, endpointMode: EndpointMode = .container, requestTimeout: Duration = .seconds(10),
        startTimeout: Duration = .seconds(60), pullTimeout: Duration = .seconds(600),
        logOptions: [String: String] = ["max-size": "10m", "max-file": "3"], usesInit: Bool = true,
        policy: HostPolicy = HostPolicy()
    ) {
        self.socketPath = socketPath
        self.tcpAddress = tcpAddress
        self.cluster = cluster
        self.node = node
        self.network = network ?? "orchestry-\(cluster)"
        self.endpointMode = endpointMode
        self.requestTimeout = requestTimeout
        self.startTimeout = startTimeout
        self.pullTimeout = pullTimeout
        self.logOptions = logOptions
        self.usesInit = usesInit
        self.policy = policy
    }
}
