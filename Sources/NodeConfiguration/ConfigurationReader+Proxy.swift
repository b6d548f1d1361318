import OrchestryModel

/// What only the proxy's settings need.
extension ConfigurationReader {
    static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// nil for 0.
    mutating func optionalPort(_ name: String) -> Int? {
        let port = integer(name, in: 0...65_535)
        return port == 0 ? nil : port
    }

    /// A host name in lower case; nil when empty.
    mutating func optionalHost(_ name: String) -> String? {
        let value = text(name).lowercased()
        guard !value.isEmpty else { return nil }
        let labels = value.split(separator: ".", omittingEmptySubsequences: false)
        let isName =
            value.utf8.count <= 253
            && labels.allSatisfy { label in
                (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                    && label.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
            }
        if isName { return value }
        problems.append("\(origin(name)) must be a host name without port, got '\(value)'")
        return nil
    }

    mutating func ranges(_ name: String) -> [AddressRange] {
        var ranges: [AddressRange] = []
        for item in text(name).split(separator: ",") {
            let entry = item.filter { $0 != " " }
            if let range = AddressRange(rawValue: entry) {
                ranges.append(range)
            } else {
                problems.append(
                    "\(origin(name)): '\(entry)' must be an address or a network such as 10.0.0.0/8 or fd00::/8")
            }
        }
        return ranges
    }

    /// What is reached through nginx is reached from beyond loopback too. nginx speaks plain HTTP to the facades: it would
    /// need their authority and names to check them.
    mutating func refuseOpenFacade(proxyHost: String, isOffered: Bool, access: AccessSettings) {
        guard isOffered else { return }
        if access.certificate != nil {
            problems.append(
                "proxy.api_host and proxy.api_port don't go with api.tls_certificate: nginx reaches the facades by plain "
                    + "HTTP. Leave one or the other empty")
        }
        guard !access.isRequired, !Self.isLoopback(proxyHost), !flag("api.allow_unauthenticated") else { return }
        problems.append(
            "proxy.api_host and proxy.api_port open the API, with auth.mode off, to whoever reaches proxy.host "
                + "(\(proxyHost)): leave them empty, set auth.mode to required, or api.allow_unauthenticated to true if "
                + "its network is trusted"
        )
    }

    mutating func refuseEqualPorts(_ ports: [(name: String, port: Int?)]) {
        for (index, first) in ports.enumerated() {
            for second in ports[(index + 1)...] where first.port != nil && first.port == second.port {
                problems.append("\(second.name) must be another port than \(first.name)")
            }
        }
    }
}
