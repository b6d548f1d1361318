import OrchestryModel

/// The part of a routing table that needs a reload when it changes: which names, ports and paths lead to which app.
/// What nginx would refuse, or would let one app take from another, is left out and reported: one app's mistake must
/// not keep the others from changing.
public struct ProxyStructure: Hashable, Sendable {
    package struct Problem: Hashable, Sendable, CustomStringConvertible {
        package var app: AppName
        package var message: String
        package init(app: AppName, message: String) {
            self.app = app
            self.message = message
        }
        package var description: String { "\(app): \(message)" }
    }

    /// One path prefix of a server.
    package struct Location: Hashable, Sendable {
        /// Starts with `/`; no trailing slash unless it is `/`.
        package var prefix: String
        package var app: AppName
    }

    /// What a server shows to TLS clients.
    package struct Certificate: Hashable, Sendable {
        /// Whose certificate it is.
        package var app: AppName
        /// Differs when the certificate does, so that a new one means a reload.
        package var fingerprint: String
    }

    /// Ports and names that are the proxy's own.
    public struct Reserved: Hashable, Sendable {
        /// Port → what it is for.
        package var ports: [Int: String]
        /// Leads to the REST facade.
        package var host: String?
        /// nil: no TLS on a port that apps share.
        package var httpsPort: Int?
        public init(ports: [Int: String] = [:], host: String? = nil, httpsPort: Int? = nil) {
            self.ports = ports
            self.host = host
            self.httpsPort = httpsPort
        }
    }

    package struct Server: Hashable, Sendable {
        /// nil: the proxy's own port.
        package var port: Int?
        /// Sorted; empty: every name (an app's own port).
        package var hosts: [String]
        /// Sorted by prefix, prefixes distinct.
        package var locations: [Location]
        /// On the proxy's TLS port, or on the app's own; nil: plain HTTP.
        package var certificate: Certificate?
    }

    /// Sorted by port (the proxy's own first), then by hosts.
    package private(set) var servers: [Server]
    /// By app name, sorted: the apps at least one server leads to.
    package private(set) var routes: [RoutingTable.Route]
    package private(set) var problems: [Problem]

    /// - Parameters:
    ///   - reserved: what no app may claim.
    ///   - certificates: fingerprints, for the apps whose certificate is at hand.
    public init(_ table: RoutingTable, reserved: Reserved, certificates: [AppName: String] = [:]) {
        var builder = Builder(reserved: reserved, certificates: certificates)
        for route in table.routes.sorted(by: { $0.app < $1.app }) { builder.add(route) }
        servers = builder.servers()
        problems = builder.problems
        let reached = Set(servers.flatMap { $0.locations.map(\.app) })
        routes = builder.routes.values.filter { reached.contains($0.app) }.sorted { $0.app < $1.app }
    }

    private struct Builder {
        let reserved: Reserved
        let certificates: [AppName: String]
        var problems: [Problem] = []
        var routes: [AppName: RoutingTable.Route] = [:]
        private var hosts: [String: [String: AppName]] = [:]
        private var ports: [Int: Location] = [:]

        init(reserved: Reserved, certificates: [AppName: String]) {
            self.reserved = reserved
            self.certificates = certificates
        }

        mutating func add(_ route: RoutingTable.Route) {
            let app = route.app
            guard routes[app] == nil else { return report(app, "is listed twice; the first entry is used") }
            guard let prefix = Self.normalized(route.routing.pathPrefix) else {
                return report(app, "path prefix '\(route.routing.pathPrefix)' can't be served")
            }
            routes[app] = route
            for host in Set(route.routing.hosts).sorted() {
                guard Self.isHost(host) else {
                    report(app, "host '\(host)' is not a host name")
                    continue
                }
                if host == reserved.host {
                    report(app, "host '\(host)' leads to the REST facade")
                    continue
                }
                if let other = hosts[host]?[prefix] {
                    report(app, "host '\(host)' with path '\(prefix)' already leads to \(other)")
                    continue
                }
                hosts[host, default: [:]][prefix] = app
            }
            if route.routing.tls != nil, certificates[app] != nil, reserved.httpsPort == nil,
                !route.routing.hosts.isEmpty, route.routing.listenPort == nil
            {
                report(app, "TLS is asked for, but this node has no port for it: set proxy.https_port")
            }
            guard let port = route.routing.listenPort else { return }
            if let purpose = reserved.ports[port] {
                report(app, "port \(port) is \(purpose)")
            } else if !(1...65535).contains(port) {
                report(app, "port \(port) can't be an app's own")
            } else if route.routing.tls != nil, certificates[app] == nil {
                // Never without TLS where TLS is expected. Why there is no certificate is said by who looked for it.
            } else if let other = ports[port] {
                report(app, "port \(port) is already \(other.app)'s own")
            } else {
                ports[port] = Location(prefix: prefix, app: app)
            }
        }

        private mutating func report(_ app: AppName, _ message: String) {
            problems.append(Problem(app: app, message: message))
        }

        /// The certificate of several apps' server: that of the first one, by path, that has one.
        private mutating func certificate(for locations: [Location], hosts: [String]) -> Certificate? {
            guard reserved.httpsPort != nil else { return nil }
            let asking = locations.filter { routes[$0.app]?.routing.tls != nil && certificates[$0.app] != nil }
            guard let owner = asking.first?.app, let fingerprint = certificates[owner] else { return nil }
            for other in Set(asking.map(\.app)).sorted() where other != owner && certificates[other] != fingerprint {
                report(other, "\(hosts.joined(separator: ", ")) is served with the certificate of \(owner)")
            }
            return Certificate(app: owner, fingerprint: fingerprint)
        }

        /// Hosts that lead to the same apps share a server.
        mutating func servers() -> [Server] {
            var byLocations: [[Location]: [String]] = [:]
            for (host, prefixes) in hosts {
                let locations = prefixes.map { Location(prefix: $0.key, app: $0.value) }
                byLocations[locations.sorted { $0.prefix < $1.prefix }, default: []].append(host)
            }
            var named = byLocations.map { Server(port: nil, hosts: $0.value.sorted(), locations: $0.key) }
            named.sort { $0.hosts.lexicographicallyPrecedes($1.hosts) }
            for index in named.indices {
                named[index].certificate = certificate(for: named[index].locations, hosts: named[index].hosts)
            }
            let own = ports.sorted { $0.key < $1.key }.map { port, location in
                let isSecure = routes[location.app]?.routing.tls != nil
                let fingerprint = isSecure ? certificates[location.app] : nil
                return Server(
                    port: port, hosts: [], locations: [location],
                    certificate: fingerprint.map { Certificate(app: location.app, fingerprint: $0) })
            }
            return named + own
        }

        /// Letters, digits, `-`, `_` and dots, lower case, at most 253; `*.` may stand in front.
        static func isHost(_ text: String) -> Bool {
            var name = Substring(text)
            if name.hasPrefix("*.") { name = name.dropFirst(2) }
            let labels = name.split(separator: ".", omittingEmptySubsequences: false)
            guard (1...253).contains(text.utf8.count) else { return false }
            return labels.allSatisfy { label in
                (1...63).contains(label.utf8.count)
                    && label.utf8.allSatisfy {
                        ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 45 || $0 == 95
                    }
            }
        }

        /// Without its trailing slash; nil unless nginx can match it as it stands (its paths are decoded and tidied).
        static func normalized(_ prefix: String) -> String? {
            guard prefix.hasPrefix("/"), prefix.utf8.count <= 256 else { return nil }
            let segments = prefix.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
            for (index, segment) in segments.enumerated() {
                if segment.isEmpty && index < segments.count - 1 { return nil }
                if segment == "." || segment == ".." { return nil }
                guard segment.utf8.allSatisfy(isPathByte) else { return nil }
            }
            return prefix != "/" && prefix.hasSuffix("/") ? String(prefix.dropLast()) : prefix
        }

        private static func isPathByte(_ byte: UInt8) -> Bool {
            (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || (byte >= 48 && byte <= 57)
                || "-._~!&()*+,=:@".utf8.contains(byte)
        }
    }
}
