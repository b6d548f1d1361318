import Glibc
import ProxyConfig

/// What of nginx this machine has.
struct Installation: Sendable {
    var binary: String
    /// For `load_module`, in order; nil when the Lua module or its library is missing.
    var luaModules: [String]?

    static func find(_ settings: ProxySettings) throws(ProxyError) -> Installation {
        var candidates = [settings.binary]
        if !settings.binary.contains("/") {
            let path = getenv("PATH").map { String(cString: $0) } ?? ""
            let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/local/sbin"]
            candidates = folders.map { $0 + "/" + settings.binary }
        }
        guard let binary = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw ProxyError(.notInstalled, while: "looking for nginx", "no program '\(settings.binary)'")
        }
        let modules = ["ndk_http_module.so", "ngx_http_lua_module.so"].map { settings.modulesFolder + "/" + $0 }
        let core = settings.luaPackagePath.split(separator: ";").contains { pattern in
            let parts = pattern.split(separator: "?", omittingEmptySubsequences: false)
            return access(parts.joined(separator: "resty/core"), R_OK) == 0
        }
        let complete = core && modules.allSatisfy { access($0, R_OK) == 0 }
        return Installation(binary: binary, luaModules: complete ? modules : nil)
    }

    /// Whom workers run as; nil unless we are root.
    static func workerUser(_ settings: ProxySettings) -> String? {
        guard geteuid() == 0 else { return nil }
        if let user = settings.user { return user }
        if getpwnam("www-data") != nil { return "www-data" }
        return getgrnam("nogroup") != nil ? "nobody nogroup" : "nobody"
    }
}

extension ProxyLayout {
    /// - Parameter folder: resolved.
    init(_ settings: ProxySettings, _ installation: Installation, folder: String, mode: ProxyMode) {
        let cores = Int(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        self.init(
            folder: folder, listenHost: settings.listenHost, listenPort: settings.listenPort,
            httpsPort: settings.httpsPort, api: settings.api, mode: mode,
            modulePaths: mode == .lua ? installation.luaModules ?? [] : [],
            luaPackagePath: settings.luaPackagePath,
            workerProcesses: settings.workerProcesses > 0 ? settings.workerProcesses : cores,
            workerConnections: settings.workerConnections, user: Installation.workerUser(settings),
            errorLogLevel: settings.errorLogLevel, accessLog: settings.accessLog,
            trustedProxies: settings.trustedProxies, includes: settings.includes,
            connectTimeoutSeconds: settings.connectTimeoutSeconds, tries: settings.tries,
            shutdownSeconds: settings.shutdownSeconds, notFoundTitle: settings.defaultServerMessage)
    }
}
