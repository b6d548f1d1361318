import NIOCore
import OrchestryModel

/// Bodies of RoutingTable and RoutingAck.
extension ByteBuffer {
    private static let listenPortFlag: UInt8 = 1
    private static let methods: [AppSpec.Routing.Method] = [.leastConnections, .ipHash, .random]

    mutating func writeRoutingVersion(_ version: RoutingTable.Version) {
        writeVarint(version.epoch.rawValue)
        writeVarint(version.number)
    }

    mutating func readRoutingVersion() throws(WireError) -> RoutingTable.Version {
        let epoch = Epoch(try readVarint())
        return RoutingTable.Version(epoch: epoch, number: try readVarint())
    }

    mutating func writeRoutingTable(_ table: RoutingTable) throws(WireError) {
        writeRoutingVersion(table.version)
        try writeCount(table.routes.count, "routes", limit: WireLimits.routes)
        for route in table.routes {
            try writeIdentifier(route.app, "route.app")
            try writeRouting(route.routing)
            try writeCount(route.targets.count, "targets", limit: WireLimits.targetsPerRoute)
            for target in route.targets {
                guard (1...100).contains(target.weight) else { throw .badValue(field: "target.weight") }
                try writeIdentifier(target.instance, "target.instance")
                try writeEndpoint(target.endpoint)
                writeVarint(UInt64(target.weight))
            }
        }
    }

    mutating func readRoutingTable() throws(WireError) -> RoutingTable {
        let version = try readRoutingVersion()
        let count = try readCount("routes", limit: WireLimits.routes, elementBytes: 9)
        var routes: [RoutingTable.Route] = []
        routes.reserveCapacity(count)
        for _ in 0..<count {
            let app: AppName = try readIdentifier("route.app")
            let routing = try readRouting()
            routes.append(RoutingTable.Route(app: app, routing: routing, targets: try readTargets()))
        }
        return RoutingTable(version: version, routes: routes)
    }

    private mutating func readTargets() throws(WireError) -> [RoutingTable.Target] {
        let count = try readCount("targets", limit: WireLimits.targetsPerRoute, elementBytes: 6)
        var targets: [RoutingTable.Target] = []
        targets.reserveCapacity(count)
        for _ in 0..<count {
            let instance: InstanceID = try readIdentifier("target.instance", limit: WireLimits.instanceBytes)
            let endpoint = try readEndpoint()
            let weight = try readVarint("target.weight", in: 1...100)
            targets.append(RoutingTable.Target(instance: instance, endpoint: endpoint, weight: Int(weight)))
        }
        return targets
    }

    private mutating func writeRouting(_ routing: AppSpec.Routing) throws(WireError) {
        try writeCount(routing.hosts.count, "routing.hosts", limit: WireLimits.hostsPerRoute)
        for host in routing.hosts { try writeText(host, "routing.host", limit: WireLimits.hostBytes) }
        try writeText(routing.pathPrefix, "routing.pathPrefix", limit: WireLimits.pathBytes)
        guard let method = Self.methods.firstIndex(of: routing.method) else { throw .badValue(field: "routing.method") }
        writeInteger(UInt8(method))
        writeInteger(routing.listenPort == nil ? UInt8(0) : Self.listenPortFlag)
        if let port = routing.listenPort {
            guard (1...65_535).contains(port) else { throw .badValue(field: "routing.listenPort") }
            writeVarint(UInt64(port))
        }
        guard (0...Int64(WireLimits.memoryBytes)).contains(routing.maxBodyBytes) else {
            throw .badValue(field: "routing.maxBodyBytes")
        }
        writeVarint(UInt64(routing.maxBodyBytes))
        try writeSmall(routing.readTimeoutSeconds, "routing.readTimeoutSeconds")
    }

    private mutating func readRouting() throws(WireError) -> AppSpec.Routing {
        let count = try readCount("routing.hosts", limit: WireLimits.hostsPerRoute, elementBytes: 1)
        var hosts: [String] = []
        hosts.reserveCapacity(count)
        for _ in 0..<count { hosts.append(try readText("routing.host", limit: WireLimits.hostBytes)) }
        let pathPrefix = try readText("routing.pathPrefix", limit: WireLimits.pathBytes)
        let method = Int(try readByte())
        guard Self.methods.indices.contains(method) else { throw .badValue(field: "routing.method") }
        let flags = try readFlags("routing.flags", mask: Self.listenPortFlag)
        let port = flags == 0 ? nil : Int(try readVarint("routing.listenPort", in: 1...65_535))
        let maxBody = try readVarint("routing.maxBodyBytes", in: 0...WireLimits.memoryBytes)
        let timeout = try readSmall("routing.readTimeoutSeconds")
        return AppSpec.Routing(
            hosts: hosts, pathPrefix: pathPrefix, method: Self.methods[method], listenPort: port,
            maxBodyBytes: Int64(maxBody), readTimeoutSeconds: timeout)
    }
}
