import ProxyConfig

/// How one node runs its nginx.
package struct ProxySettings: Hashable, Sendable {
    package enum Mode: String, Hashable, Sendable, Codable {
        /// Lua where the module is installed and works, else plain.
        case auto
        case lua
        case plain
    }

    /// A path, or a name looked for in `PATH` and the `sbin` folders.
    package var binary: String
    /// Of this nginx alone; made if missing. At most 80 bytes long once resolved (a socket's path must fit into it).
    package var folder: String
    /// An IPv4 or IPv6 literal; `::` serves both families.
    package var listenHost: String
    /// 1…65535.
    package var listenPort: Int
    /// Where apps with a certificate are served over TLS, 1…65535; nil: only on ports of their own.
    package var httpsPort: Int?
    /// nil: the REST facade is not reached through nginx.
    package var api: ProxyLayout.API?
    package var mode: Mode
    /// Where nginx's dynamic modules are.
    package var modulesFolder: String
    /// Where Lua's libraries are, in the syntax of `lua_package_path`.
    package var luaPackagePath: String
    /// 0: one for each core.
    package var workerProcesses: Int
    package var workerConnections: Int
    /// Whom the workers run as when nginx is started as root; nil: `www-data`, or `nobody` where that does not exist.
    package var user: String?
    package var errorLogLevel: ProxyLayout.LogLevel
    /// A file for one JSON object a request; nil: no access log.
    package var accessLog: String?
    /// Addresses or networks (CIDR) of load balancers whose `X-Forwarded-For` is believed.
    package var trustedProxies: [String]
    /// Operators' own files, included in `http { }`.
    package var includes: [String]
    /// How long one connection attempt to an instance may take, seconds.
    package var connectTimeoutSeconds: Int
    /// Instances tried for one request at most, 1…8.
    package var tries: Int
    /// What is still open after a reload or a graceful stop is ended after this, seconds.
    package var shutdownSeconds: Int
    /// The title of the 404 for a host that no app serves.
    package var defaultServerMessage: String
    /// How long nginx may take to start, or to put a reload into effect, seconds.
    package var effectTimeoutSeconds: Double
    /// The error log is set aside (as `error.log.1`) when it is larger than this, bytes.
    package var errorLogLimit: Int

    package init(
        binary: String = "nginx", folder: String, listenHost: String = "0.0.0.0", listenPort: Int,
        httpsPort: Int? = nil,
        api: ProxyLayout.API? = nil, mode: Mode = .auto, modulesFolder: String = "/usr/lib/nginx/modules",
        luaPackagePath: String = "/usr/share/lua/5.1/?.lua",
        workerProcesses: Int = 0, workerConnections: Int = 4096, user: String? = nil,
        errorLogLevel: ProxyLayout.LogLevel = .error, accessLog: String? = nil, trustedProxies: [String] = [],
        includes: [String] = [], connectTimeoutSeconds: Int = 2, tries: Int = 3, shutdownSeconds: Int = 3600,
        defaultServerMessage: String = "No app is served here", effectTimeoutSeconds: Double = 10,
        errorLogLimit: Int = 16 << 20
    ) {
        self.binary = binary
        self.folder = folder
        self.listenHost = listenHost
        self.listenPort = listenPort
        self.httpsPort = httpsPort
        self.api = api
        self.mode = mode
        self.modulesFolder = modulesFolder
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
        self.shutdownSeconds = shutdownSeconds
        self.defaultServerMessage = defaultServerMessage
        self.effectTimeoutSeconds = effectTimeoutSeconds
        self.errorLogLimit = errorLogLimit
    }
}
