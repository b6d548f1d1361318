import OrchestryModel

/// Turns the layers' texts into typed values and collects what is wrong instead of stopping at the first.
struct ConfigurationReader {
    let layers: ConfigurationLayers
    var problems: [String] = []

    func text(_ name: String) -> String { layers.entries[name]?.text ?? "" }

    func origin(_ name: String) -> String {
        guard let entry = layers.entries[name] else { return name }
        return "\(name) (\(entry.source))"
    }

    mutating func required(_ name: String) -> String {
        let value = text(name)
        if value.isEmpty { problems.append("\(name) must be set") }
        return value
    }

    mutating func identifier<ID: Identifier>(_ name: String, as type: ID.Type) -> ID? {
        let value = required(name)
        guard !value.isEmpty else { return nil }
        if let identifier = ID(rawValue: value) { return identifier }
        problems.append("\(origin(name)) must be a DNS label (1–63 of a-z, 0-9, -), got '\(value)'")
        return nil
    }

    mutating func choice(_ name: String, _ allowed: [String]) -> String {
        let value = text(name).lowercased()
        if !allowed.contains(value) {
            problems.append("\(origin(name)) must be one of \(allowed.joined(separator: ", ")), got '\(value)'")
        }
        return value
    }

    mutating func integer(_ name: String, in range: ClosedRange<Int>) -> Int {
        guard let value = Int(text(name)), range.contains(value) else {
            problems.append(
                "\(origin(name)) must be a whole number from \(range.lowerBound) to \(range.upperBound), got '\(text(name))'"
            )
            return range.lowerBound
        }
        return value
    }

    mutating func flag(_ name: String) -> Bool {
        switch text(name).lowercased() {
        case "true", "yes", "1": return true
        case "false", "no", "0": return false
        default:
            problems.append("\(origin(name)) must be true or false, got '\(text(name))'")
            return false
        }
    }

    mutating func duration(_ name: String, in range: ClosedRange<Duration>) -> Duration {
        guard let value = Self.parseDuration(text(name)) else {
            problems.append("\(origin(name)) must be a number with a unit (ms, s, m, h), got '\(text(name))'")
            return range.lowerBound
        }
        if !range.contains(value) {
            problems.append("\(origin(name)) must be from \(range.lowerBound) to \(range.upperBound), got \(value)")
        }
        return value
    }

    /// `250ms`, `5s`, `2m`, `1h`; a bare number is seconds. nil: anything else, or negative.
    static func parseDuration(_ text: String) -> Duration? {
        let units: [(String, Double)] = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("", 1)]
        for (suffix, scale) in units where text.hasSuffix(suffix) {
            if let number = Double(text.dropLast(suffix.count)), number >= 0, number < 1e9 {
                return .nanoseconds(Int64(number * scale * 1e9))
            }
        }
        return nil
    }

    /// Absolute paths without a slash at the end.
    mutating func folders(_ name: String) -> [String] {
        text(name).split(separator: ",").compactMap { item in
            var path = item.trimmingPrefix(" ")[...]
            while path.count > 1, path.last == "/" || path.last == " " { path = path.dropLast() }
            if path.hasPrefix("/"), !path.split(separator: "/").contains("..") { return String(path) }
            problems.append("\(origin(name)): '\(item)' must be an absolute path without '..'")
            return nil
        }
    }

    mutating func peers(_ name: String) -> [NodeID: NodeConfiguration.PeerAddress] {
        var result: [NodeID: NodeConfiguration.PeerAddress] = [:]
        for item in text(name).split(separator: ",") {
            let entry = item.filter { $0 != " " }
            let parts = entry.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, let id = NodeID(rawValue: String(parts[0])),
                let colon = parts[1].lastIndex(of: ":"), let port = Int(parts[1][parts[1].index(after: colon)...]),
                (1...65_535).contains(port)
            else {
                problems.append("\(origin(name)): '\(entry)' must have the form id=host:port")
                continue
            }
            let host = parts[1][..<colon].filter { $0 != "[" && $0 != "]" }
            if result.updateValue(.init(host: host, port: port), forKey: id) != nil {
                problems.append("\(origin(name)): \(id) is listed twice")
            }
        }
        return result
    }

    mutating func security() -> NodeConfiguration.ClusterSecurity {
        if choice("cluster.security", ["mtls", "plain"]) == "plain" {
            let secret = text("cluster.secret")
            if secret.count < 16 {
                problems.append("cluster.secret must have 16 characters or more when cluster.security is plain")
            }
            return .plain(secret: secret)
        }
        for name in ["cluster.tls_ca", "cluster.tls_certificate", "cluster.tls_key"] where text(name).isEmpty {
            problems.append(
                "\(name) must be set (make the files with `orchestry certs init` and `orchestry certs issue`)")
        }
        return .mutualTLS(
            ca: text("cluster.tls_ca"), certificate: text("cluster.tls_certificate"), key: text("cluster.tls_key"))
    }

    /// libpq's keyword form from the single settings, unless a URL is given. Values are quoted by libpq's rules.
    mutating func postgresConnection() -> String {
        let url = text("postgres.url")
        if !url.isEmpty { return url }
        func quoted(_ value: String) -> String {
            "'" + value.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
        }
        let port = integer("postgres.port", in: 1...65_535)
        var parts = [
            "host=\(quoted(required("postgres.host")))", "port=\(port)",
            "dbname=\(quoted(required("postgres.database")))", "user=\(quoted(required("postgres.user")))",
        ]
        let password = text("postgres.password")
        if !password.isEmpty { parts.append("password=\(quoted(password))") }
        return parts.joined(separator: " ")
    }
}
