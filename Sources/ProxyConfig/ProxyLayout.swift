import OrchestryModel

/// How nginx gets to know of endpoints.
public enum ProxyMode: String, Hashable, Sendable, Codable {
    /// Endpoints are pushed into a shared dictionary that a Lua balancer reads; only structure needs a reload.
    case lua
    /// Endpoints are part of the configuration; every change is rendered, tested and reloaded. Requests are not counted.
    case plain
}

/// Everything but the routes that a rendered configuration depends on. The shell fills it in from what it finds.
public struct ProxyLayout: Hashable, Sendable {
    public enum LogLevel: String, Hashable, Sendable, Codable { case warn, error, crit }

    /// How the REST facades of the cluster are reached through this nginx.
    public struct API: Hashable, Sendable {
        /// Host name on the proxy's own port that leads to them; nil: none.
        public var host: String?
        /// A port that serves nothing else, 1…65535; nil: none.
        public var port: Int?
        /// This node's own facade, an IP literal: the one that is known before any other, and in plain mode the only one.
        public var ownHost: String
        public var ownPort: Int
        /// Largest request body, bytes.
        public var maxBodyBytes: Int
        public init(
            host: String? = nil, port: Int? = nil, ownHost: String, ownPort: Int, maxBodyBytes: Int = 1 << 20
        ) {
            self.host = host
            self.port = port
            self.ownHost = ownHost
            self.ownPort = ownPort
            self.maxBodyBytes = maxBodyBytes
        }
    }

    /// Absolute, no trailing slash: holds the configuration, pid, logs, sockets and temporary files of this nginx only.
    public var folder: String
    /// An IPv4 or IPv6 literal; `::` serves both families.
    public var listenHost: String
    /// 1…65535.
    public var listenPort: Int
    /// Where apps with a certificate are served over TLS, 1…65535; nil: only on ports of their own.
    public var httpsPort: Int?
    /// nil: the REST facade is not reached through nginx.
    public var api: API?
    public var mode: ProxyMode
    /// Files for `load_module`, in order.
    public var modulePaths: [String]
    /// Where Debian's Lua libraries are, in the syntax of `lua_package_path`, without our own folder.
    public var luaPackagePath: String
    /// At least 1.
    public var workerProcesses: Int
    public var workerConnections: Int
    /// `user [group]` of the workers; nil when nginx is not started as root.
    public var user: String?
    public var errorLogLevel: LogLevel
    /// A file for one JSON object a request; nil: no access log.
    public var accessLog: String?
    /// Addresses or networks (CIDR) of load balancers whose `X-Forwarded-For` is believed.
    public var trustedProxies: [String]
    /// Operators' own files, included in `http { }`.
    public var includes: [String]
    /// How long one connection attempt to an instance may take, seconds.
    public var connectTimeoutSeconds: Int
    /// Instances tried for one request at most, 1…8.
    public var tries: Int
    /// No further instance is tried later than this after the first, seconds.
    public var retryTimeoutSeconds: Int
    /// An instance that could not be reached is left alone for this long, doubling up to eightfold, seconds.
    public var asideSeconds: Double
    /// Idle connections to instances kept per app and worker.
    public var keepaliveConnections: Int
    /// Idle connections to instances are closed after this, seconds. Shorter than what servers commonly use (5 s), as a
    /// POST on a connection that the instance is just closing can't be retried.
    public var keepaliveSeconds: Int
    /// After a reload or a graceful stop, old workers end what is still open after this, seconds.
    public var shutdownSeconds: Int
    public var notFoundTitle: String

    public init(
        folder: String, listenHost: String = "0.0.0.0", listenPort: Int, httpsPort: Int? = nil, api: API? = nil,
        mode: ProxyMode = .lua, modulePaths: [String] = [], luaPackagePath: String = "", workerProcesses: Int = 1,
        workerConnections: Int = 4096, user: String? = nil, errorLogLevel: LogLevel = .error, accessLog: String? = nil,
        trustedProxies: [String] = [], includes: [String] = [], connectTimeoutSeconds: Int = 2, tries: Int = 3,
        retryTimeoutSeconds: Int = 10, asideSeconds: Double = 1, keepaliveConnections: Int = 64,
        keepaliveSeconds: Int = 4, shutdownSeconds: Int = 3600, notFoundTitle: String = "No app is served here"
    ) {
        self.folder = folder
        self.listenHost = listenHost
        self.listenPort = listenPort
        self.httpsPort = httpsPort
        self.api = api
        self.mode = mode
        self.modulePaths = modulePaths
        self.luaPackagePath = luaPackagePath
        self.workerProcesses = workerProcesses
        self.workerConnections = workerConnections
        self.user = user
        self.errorLogLevel = errorLogLevel
        self.accessLog = accessLog
        self.trustedProxies = trustedProxies
        self.includes = includes
        self.connectTimeoutSeconds = connectTimeoutSeconds
        self.tries = tries
        self.retryTimeoutSeconds = retryTimeoutSeconds
        self.asideSeconds = asideSeconds
        self.keepaliveConnections = keepaliveConnections
        self.keepaliveSeconds = keepaliveSeconds
        self.shutdownSeconds = shutdownSeconds
        self.notFoundTitle = notFoundTitle
    }

    public var configPath: String { folder + "/nginx.conf" }
    public var pidPath: String { folder + "/nginx.pid" }
    public var errorLogPath: String { folder + "/error.log" }
    /// Only its owner may enter the folder of this socket: whoever can write to it decides where traffic goes.
    public var adminSocketPath: String { folder + "/admin/nginx.sock" }
    /// Where workers tell the node that requests wait. Whoever may write to it can make the node read its counters.
    public var wakeSocketPath: String { folder + "/wake.sock" }
    public var membershipPath: String { folder + "/membership" }
    public var luaFolder: String { folder + "/lua" }
    /// Which nodes serve the REST facade, as text; see `orchestry_api.lua`.
    public var facadesPath: String { folder + "/facades" }
    /// Only its owner may enter it.
    public var certificateFolder: String { folder + "/tls" }
    /// An app's certificate, intermediate ones and private key, in one file so that it is replaced as a whole.
    public func certificatePath(of app: AppName) -> String { "\(certificateFolder)/\(app).pem" }

    /// What no app may claim.
    public var reserved: ProxyStructure.Reserved {
        var ports = [listenPort: "the proxy's own port"]
        if let httpsPort { ports[httpsPort] = "the proxy's TLS port" }
        if let port = api?.port { ports[port] = "the port of the REST facade" }
        return ProxyStructure.Reserved(ports: ports, host: api?.host, httpsPort: httpsPort)
    }
}

/// Room for counters. It only grows: another size is another memory, and counting starts again from zero.
public struct ProxyCapacity: Hashable, Sendable {
    public var apps: Int
    public var instances: Int
    public init(apps: Int = 256, instances: Int = 4096) {
        self.apps = apps
        self.instances = instances
    }

    /// Twice as many apps and four times as many instances as the table has, since those that left keep their place
    /// for a while; rounded up to a power of two, never below `self`.
    public func fitting(_ table: RoutingTable) -> ProxyCapacity {
        var next = self
        let targets = table.routes.reduce(0) { $0 + $1.targets.count }
        while next.apps < table.routes.count * 2 { next.apps *= 2 }
        while next.instances < targets * 4 { next.instances *= 2 }
        return next
    }
}
