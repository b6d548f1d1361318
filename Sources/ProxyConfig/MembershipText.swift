import OrchestryModel

/// The text that tells a running nginx which instances serve which app; see `orchestry_membership.lua`.
public enum MembershipText {
    /// - Parameter routes: those of a `ProxyStructure`; order of targets is kept.
    /// - Returns: text ending in `end\n`; equal input gives equal bytes.
    public static func render(_ routes: [RoutingTable.Route], version: RoutingTable.Version) -> String {
        var text = "orchestry-membership 1 \(version)\n"
        for route in routes {
            text += "app \(route.app) \(method(of: route.routing))\(hold(of: route))\n"
            for target in route.targets {
                let host = target.endpoint.host
                let address = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
                text += "\(target.instance) \(address) \(target.endpoint.port) \(min(max(target.weight, 1), 100))\n"
            }
        }
        return text + "end\n"
    }

    /// The balancing method, or `maintenance:<seconds>:<message>` with the message percent-encoded: it takes effect as
    /// endpoints do, without a reload.
    private static func method(of routing: AppSpec.Routing) -> String {
        guard let maintenance = routing.maintenance else { return routing.method.rawValue }
        return "maintenance:\(maintenance.retryAfterSeconds):\(percentEncoded(maintenance.message ?? ""))"
    }

    /// `;hold=<seconds>,<requests>` behind the method: how long and how many requests wait while there is no instance.
    private static func hold(of route: RoutingTable.Route) -> String {
        guard let activation = route.activation, activation.holds, route.routing.maintenance == nil else { return "" }
        return ";hold=\(activation.holdSeconds),\(activation.holdLimit)"
    }

    private static func percentEncoded(_ text: String) -> String {
        text.utf8.map { byte in
            let plain = (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            if plain { return String(UnicodeScalar(byte)) }
            return (byte < 16 ? "%0" : "%") + String(byte, radix: 16)
        }.joined()
    }
}

extension RoutingTable {
    /// Without these instances, and without targets nginx could not take: those whose address is no IP literal or
    /// whose port is out of range.
    package func serving(excluding excluded: Set<InstanceID>) -> RoutingTable {
        var table = self
        for index in table.routes.indices {
            var seen: Set<InstanceID> = []
            table.routes[index].targets.removeAll { target in
                excluded.contains(target.instance) || !seen.insert(target.instance).inserted
                    || !isAddressLiteral(target.endpoint.host) || !(1...65535).contains(target.endpoint.port)
            }
        }
        return table
    }
}

/// Whether `text` looks like an IPv4 or IPv6 literal. Only keeps text of another shape out of the configuration;
/// nginx itself decides about the rest.
func isAddressLiteral(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard (2...45).contains(bytes.count) else { return false }
    if bytes.contains(UInt8(ascii: ":")) {
        return bytes.allSatisfy { byte in
            (byte >= 48 && byte <= 57) || (byte >= 97 && byte <= 102) || (byte >= 65 && byte <= 70) || byte == 58
                || byte == 46
        }
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil && !$0.hasPrefix("+") }
}
