import OrchestryModel
import SecretSealing

/// A node's whole configuration, checked.
package struct NodeConfiguration: Sendable {
    package struct PeerAddress: Sendable, Hashable {
        package var host: String
        package var port: Int
    }
    package enum ClusterSecurity: Sendable, Hashable {
        case mutualTLS(ca: String, certificate: String, key: String)
        case plain(secret: String)
    }
    package enum EndpointMode: String, Sendable { case container, published }
    package enum ProxyMode: String, Sendable { case auto, lua, plain }

    package var node: NodeInfo
    package var dataDirectory: String
    package var cluster: ClusterID
    /// Every controller, this node included where it is one.
    package var controllers: [NodeID: PeerAddress]
    package var security: ClusterSecurity
    /// nil: TLS secrets are not written down.
    package var tlsKeyLogPath: String?
    /// How often the certificate files are looked at.
    package var certificateCheckInterval: Duration
    package var heartbeatInterval: Duration
    package var promise: Duration
    package var leaseTTL: Duration
    package var renewInterval: Duration
    package var apiHost: String
    package var apiPort: Int
    package var access: AccessSettings
    package var maxBodyBytes: Int
    /// A libpq connection string. Holds the password: never logged.
    package var postgresConnection: String
    /// As above, for the lease.
    package var leaseConnection: String
    /// A libpq URI; nil: no replica.
    package var replicaConnection: String?
    package var replicaMaxLag: Duration
    package var postgresPoolSize: Int
    /// nil: what is past its retention is dropped without a copy.
    package var archiveFolder: String?
    package var engineSocket: String
    package var engineNetwork: String
    package var endpointMode: EndpointMode
    /// nil: what the engine reports.
    package var cpuMillicores: Int?
    package var memoryBytes: Int64?
    package var bindAllow: [String]
    package var seccompFolder: String?
    /// Empty: images are not scanned.
    package var scanCommand: [String]
    /// Of each app; 0: all.
    package var keepImages: Int
    /// As the engine takes it: `10m`.
    package var logMaxSize: String
    package var logMaxFiles: Int
    /// nil: this node can neither take nor open secrets.
    package var secretKeys: SecretKeys?
    package var proxyEnabled: Bool
    package var proxyBinary: String
    package var proxyHost: String
    package var proxyPort: Int
    package var proxyMode: ProxyMode
    package var proxyWorkers: Int
    /// nil: no TLS on a port that apps share.
    package var proxyHTTPSPort: Int?
    package var proxyTrusted: [AddressRange]
    package var proxyShutdownTimeout: Duration
    /// nil: no host name leads to the REST facade.
    package var proxyAPIHost: String?
    /// nil: no port of nginx leads to the REST facade.
    package var proxyAPIPort: Int?
    /// As this node's own configuration has them.
    package var dynamic: DynamicSettings
    /// What it was made from. Holds passwords: never logged.
    let layers: ConfigurationLayers
    package var logFormat: String

    /// - Throws: `ConfigurationError` with every unknown key, missing key and bad value, each with its source.
    package static func load(
        file: String?, environmentFile: EnvironmentFile? = nil, environment: [String: String]
    ) async throws -> NodeConfiguration {
        var layers = try await ConfigurationLayers(
            file: file, environmentFile: environmentFile, environment: environment)
        let configuration = NodeConfiguration(reading: &layers)
        guard layers.problems.isEmpty, let configuration else {
            throw ConfigurationError(problems: layers.problems)
        }
        return configuration
    }

    private init?(reading layers: inout ConfigurationLayers) {
        var reader = ConfigurationReader(layers: layers)
        defer { reader.problems.forEach { layers.report($0) } }
        let id = reader.identifier("node.id", as: NodeID.self)
        let cluster = reader.identifier("cluster.id", as: ClusterID.self)
        let role: NodeInfo.Role =
            reader.choice("node.role", ["controller", "worker"]) == "worker" ? .worker : .controller
        let clusterHost = reader.text("cluster.host")
        let clusterPort = reader.integer("cluster.port", in: 1...65_535)
        apiHost = reader.text("api.host")
        apiPort = reader.integer("api.port", in: 1...65_535)
        let url = reader.text("api.url")
        access = reader.access()
        reader.refuseOpenAPI(access, host: apiHost)
        dataDirectory = reader.required("node.data_dir")
        dynamic = DynamicSettings(reading: &reader)
        self.layers = layers
        controllers = reader.peers("cluster.peers")
        security = reader.security()
        let keyLog = reader.text("cluster.tls_key_log")
        tlsKeyLogPath = keyLog.isEmpty ? nil : keyLog
        certificateCheckInterval = reader.duration(
            "cluster.tls_check_interval", in: .milliseconds(100) ... .seconds(3600))
        heartbeatInterval = reader.duration("leadership.heartbeat_interval", in: .milliseconds(10) ... .seconds(10))
        promise = reader.duration("leadership.promise", in: .milliseconds(50) ... .seconds(60))
        leaseTTL = reader.duration("leadership.lease_ttl", in: .milliseconds(500) ... .seconds(300))
        renewInterval = reader.duration("leadership.renew_interval", in: .milliseconds(100) ... .seconds(100))
        maxBodyBytes = reader.integer("api.max_body_bytes", in: 1_024...67_108_864)
        postgresConnection = reader.postgresConnection()
        let leaseURL = reader.text("postgres.lease_url")
        leaseConnection = leaseURL.isEmpty ? postgresConnection : leaseURL
        let replicaURL = reader.text("postgres.replica_url")
        replicaConnection = replicaURL.isEmpty ? nil : replicaURL
        replicaMaxLag = reader.duration("postgres.replica_max_lag", in: .seconds(2) ... .seconds(3600))
        postgresPoolSize = reader.integer("postgres.pool_size", in: 1...64)
        archiveFolder = reader.folders("retention.archive_dir").first
        engineSocket = reader.required("engine.socket")
        let network = reader.text("engine.network")
        engineNetwork = network.isEmpty ? "orchestry-\(cluster?.rawValue ?? "")" : network
        endpointMode =
            EndpointMode(rawValue: reader.choice("engine.endpoints", ["container", "published"])) ?? .container
        let millicores = reader.integer("engine.cpu_millicores", in: 0...4_000_000)
        cpuMillicores = millicores == 0 ? nil : millicores
        let memory = reader.integer("engine.memory_bytes", in: 0...Int.max)
        memoryBytes = memory == 0 ? nil : Int64(memory)
        bindAllow = reader.folders("engine.bind_allow")
        let seccomp = reader.text("engine.seccomp_dir")
        seccompFolder = seccomp.isEmpty ? nil : seccomp
        scanCommand = reader.text("engine.scan_command").split(separator: ",").map {
            $0.trimmingPrefix(" ").description
        }
        keepImages = reader.integer("engine.keep_images", in: 0...1_000)
        logMaxSize = reader.text("engine.log_max_size")
        if logMaxSize.wholeMatch(of: /[1-9][0-9]{0,8}[kmg]?/) == nil {
            reader.problems.append("engine.log_max_size must be bytes, or a number with k, m or g, got '\(logMaxSize)'")
        }
        logMaxFiles = reader.integer("engine.log_max_files", in: 1...100)
        proxyEnabled = reader.flag("proxy.enabled")
        proxyBinary = reader.required("proxy.binary")
        proxyHost = reader.text("proxy.host")
        proxyPort = reader.integer("proxy.port", in: 1...65_535)
        proxyMode = ProxyMode(rawValue: reader.choice("proxy.mode", ["auto", "lua", "plain"])) ?? .auto
        proxyWorkers = reader.integer("proxy.workers", in: 1...64)
        proxyHTTPSPort = reader.optionalPort("proxy.https_port")
        proxyTrusted = reader.ranges("proxy.trusted_proxies")
        proxyShutdownTimeout = reader.duration("proxy.shutdown_timeout", in: .seconds(1) ... .seconds(86_400))
        proxyAPIHost = reader.optionalHost("proxy.api_host")
        proxyAPIPort = reader.optionalPort("proxy.api_port")
        reader.refuseOpenFacade(
            proxyHost: proxyHost, isOffered: proxyAPIHost != nil || proxyAPIPort != nil, access: access)
        reader.refuseEqualPorts([
            ("proxy.port", proxyPort), ("proxy.https_port", proxyHTTPSPort), ("proxy.api_port", proxyAPIPort),
        ])
        logFormat = reader.choice("log.format", ["json", "text"])
        if promise < heartbeatInterval * 3 {
            reader.problems.append("leadership.promise must be at least 3 × leadership.heartbeat_interval")
        }
        if leaseTTL < renewInterval * 2 || leaseTTL < promise * 2 {
            reader.problems.append(
                "leadership.lease_ttl must be at least 2 × leadership.renew_interval and 2 × leadership.promise")
        }
        let keyFile = reader.text("secrets.key_file")
        if !keyFile.isEmpty, let cluster {
            do {
                secretKeys = try SecretKeyFile.load(keyFile, cluster: cluster)
            } catch {
                reader.problems.append("secrets.key_file: \(error)")
            }
        }
        guard let id, let cluster else { return nil }
        self.cluster = cluster
        node = NodeInfo(
            id: id, role: role, host: clusterHost, clusterPort: clusterPort,
            apiURL: url.isEmpty ? "http\(access.certificate == nil ? "" : "s")://\(apiHost):\(apiPort)" : url)
        if role == .controller {
            if controllers.isEmpty {
                controllers = [id: PeerAddress(host: clusterHost, port: clusterPort)]
            } else if controllers[id] == nil {
                reader.problems.append("cluster.peers must list this controller (\(id)) too")
            }
        } else if controllers.isEmpty {
            reader.problems.append("cluster.peers must list the controllers of this worker")
        } else if controllers[id] != nil {
            reader.problems.append("cluster.peers lists only controllers, and \(id) is a worker (node.role)")
        }
        if !(role == .worker && controllers.isEmpty), ![1, 3, 5].contains(controllers.count) {
            reader.problems.append("cluster.peers must list 1, 3 or 5 controllers, got \(controllers.count)")
        }
    }
}
