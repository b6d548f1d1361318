import OrchestryModel

/// The part of a routing table that needs a reload when it changes: which names, ports and paths lead to which app.
/// What nginx would refuse, or would let one app take from another, is left out and reported: one app's mistake must
/// not keep the others from changing.
package struct ProxyStructure: Hashable, Sendable {
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

    package struct Server: Hashable, Sendable {
        /// nil: the proxy's own port.
        package var port: Int?
        /// Sorted; empty: every name (an app's own port).
        package var hosts: [String]
        /// Sorted by prefix, prefixes distinct.
        package var locations: [Location]
    }

    /// Sorted by port (the proxy's own first), then by hosts.
    package private(set) var servers: [Server]
    /// By app name, sorted: the apps at least one server leads to.
    package private(set) var routes: [RoutingTable.Route]
    package private(set) var problems: [Problem]

    /// - Parameter listenPort: the proxy's own port, which no app may claim.
    package init(_ table: RoutingTable, listenPort: Int) {
        var builder = Builder(listenPort: listenPort)
        for route in table.routes.sorted(by: { $0.app < $1.app }) { builder.add(route) }
        servers = builder.servers()
        problems = builder.problems
        let reached = Set(servers.flatMap { $0.locations.map(\.app) })
        routes = builder.routes.values.filter { reached.contains($0.app) }.sorted { $0.app < $1.app }
    }

    private struct Builder {
        let listenPort: Int
        var problems: [Problem] = []
        var routes: [AppName: RoutingTable.Route] = [:]
        private var hosts: [String: [String: AppName]] = [:]
        private var ports: [Int: Location] = [:]

        init(listenPort: Int) { self.listenPort = listenPort }

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
                if let other = hosts[host]?[prefix] {
                    report(app, "host '\(host)' with path '\(prefix)' already leads to \(other)")
                    continue
                }
                hosts[host, default: [:]][prefix] = app
            }
            guard let port = route.routing.listenPort else { return }
            if !(1...65535).contains(port) || port == listenPort {
                report(app, "port \(port) can't be an app's own")
            } else if let other = ports[port] {
                report(app, "port \(port) is already \(other.app)'s own")
            } else {
                ports[port] = Location(prefix: prefix, app: app)
            }
        }

        private mutating func report(_ app: AppName, _ message: String) {
            problems.append(Problem(app: app, message: message))
        }

        /// Hosts that lead to the same apps share a server.
        func servers() -> [Server] {
            var byLocations: [[Location]: [String]] = [:]
            for (host, prefixes) in hosts {
                let locations = prefixes.map { Location(prefix: $0.key, app: $0.value) }
                byLocations[locations.sorted { $0.prefix < $1.prefix }, default: []].append(host)
            }
            let named = byLocations.map { Server(port: nil, hosts: $0.value.sorted(), locations: $0.key) }
            return named.sorted { $0.hosts.lexicographicallyPrecedes($1.hosts) }
                + ports.sorted { $0.key < $1.key }.map { Server(port: $0.key, hosts: [], locations: [$0.value]) }
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
