import NIOCore
import OrchestryModel

/// Bodies of RoutingTable and RoutingAck.
extension ByteBuffer {
    private static let listenPortFlag: UInt8 = 1
    private static let tlsFlag: UInt8 = 2
    private static let maintenanceFlag: UInt8 = 4
    private static let allowFlag: UInt8 = 8
    private static let denyFlag: UInt8 = 16
    private static let secretsFlag: UInt8 = 32
    private static let activationFlag: UInt8 = 64
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
            try writeRouting(route)
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
            var route = try readRoute(of: app)
            route.targets = try readTargets()
            routes.append(route)
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

    private mutating func writeRouting(_ route: RoutingTable.Route) throws(WireError) {
        let (routing, secrets) = (route.routing, route.secrets)
        try writeCount(routing.hosts.count, "routing.hosts", limit: WireLimits.hostsPerRoute)
        for host in routing.hosts { try writeText(host, "routing.host", limit: WireLimits.hostBytes) }
        try writeText(routing.pathPrefix, "routing.pathPrefix", limit: WireLimits.pathBytes)
        guard let method = Self.methods.firstIndex(of: routing.method) else { throw .badValue(field: "routing.method") }
        writeInteger(UInt8(method))
        let flags =
            (routing.listenPort == nil ? 0 : Self.listenPortFlag) | (routing.tls == nil ? 0 : Self.tlsFlag)
            | (routing.maintenance == nil ? 0 : Self.maintenanceFlag) | (routing.allow == nil ? 0 : Self.allowFlag)
            | (routing.deny == nil ? 0 : Self.denyFlag) | (secrets.isEmpty ? 0 : Self.secretsFlag)
            | (route.activation == nil ? 0 : Self.activationFlag)
        writeInteger(flags)
        if let port = routing.listenPort {
            guard (1...65_535).contains(port) else { throw .badValue(field: "routing.listenPort") }
            writeVarint(UInt64(port))
        }
        guard (0...Int64(WireLimits.memoryBytes)).contains(routing.maxBodyBytes) else {
            throw .badValue(field: "routing.maxBodyBytes")
        }
        writeVarint(UInt64(routing.maxBodyBytes))
        try writeSmall(routing.readTimeoutSeconds, "routing.readTimeoutSeconds")
        if let tls = routing.tls {
            try writeIdentifier(tls.certificateSecret, "routing.tls.certificateSecret")
            try writeIdentifier(tls.keySecret, "routing.tls.keySecret")
            writeFlag(tls.redirect)
        }
        if let maintenance = routing.maintenance {
            try writeSmall(maintenance.retryAfterSeconds, "routing.maintenance.retryAfterSeconds")
            try writeText(
                maintenance.message ?? "", "routing.maintenance.message", limit: WireLimits.maintenanceBytes)
        }
        if let allow = routing.allow { try writeRanges(allow, "routing.allow") }
        if let deny = routing.deny { try writeRanges(deny, "routing.deny") }
        if !secrets.isEmpty {
            try writeCount(secrets.count, "route.secrets", limit: WireLimits.secretsPerRoute)
            for secret in secrets { try writeSecret(secret) }
        }
        if let activation = route.activation { try writeActivation(activation) }
    }

    private mutating func writeActivation(_ activation: RoutingTable.Activation) throws(WireError) {
        writeFlag(activation.holds)
        for (value, range, field) in [
            (activation.holdSeconds, WireLimits.holdSeconds, "activation.holdSeconds"),
            (activation.holdLimit, WireLimits.holdLimit, "activation.holdLimit"),
        ] {
            guard let value = UInt64(exactly: value), range.contains(value) else { throw .badValue(field: field) }
            writeVarint(value)
        }
    }

    private mutating func readActivation() throws(WireError) -> RoutingTable.Activation {
        let holds = try readFlag("activation.holds")
        let seconds = try readVarint("activation.holdSeconds", in: WireLimits.holdSeconds)
        let limit = try readVarint("activation.holdLimit", in: WireLimits.holdLimit)
        return RoutingTable.Activation(holds: holds, holdSeconds: Int(seconds), holdLimit: Int(limit))
    }

    private mutating func writeRanges(_ ranges: [AddressRange], _ field: String) throws(WireError) {
        guard !ranges.isEmpty else { throw .badValue(field: field) }
        try writeCount(ranges.count, field, limit: WireLimits.addressRanges)
        for range in ranges { try writeText(range.rawValue, field, limit: WireLimits.addressRangeBytes) }
    }

    private mutating func readRanges(_ field: String) throws(WireError) -> [AddressRange] {
        let count = try readCount(field, limit: WireLimits.addressRanges, elementBytes: 3)
        guard count > 0 else { throw .badValue(field: field) }
        var ranges: [AddressRange] = []
        ranges.reserveCapacity(count)
        for _ in 0..<count {
            let text = try readText(field, limit: WireLimits.addressRangeBytes)
            guard let range = AddressRange(rawValue: text) else { throw .badValue(field: field) }
            ranges.append(range)
        }
        return ranges
    }

    private mutating func readTLS() throws(WireError) -> AppSpec.Routing.TLS {
        let certificate: SecretName = try readIdentifier("routing.tls.certificateSecret")
        let key: SecretName = try readIdentifier("routing.tls.keySecret")
        return AppSpec.Routing.TLS(
            certificateSecret: certificate, keySecret: key, redirect: try readFlag("routing.tls.redirect"))
    }

    private mutating func readMaintenance() throws(WireError) -> AppSpec.Routing.Maintenance {
        let seconds = try readSmall("routing.maintenance.retryAfterSeconds")
        let message = try readText("routing.maintenance.message", limit: WireLimits.maintenanceBytes)
        return AppSpec.Routing.Maintenance(retryAfterSeconds: seconds, message: message.isEmpty ? nil : message)
    }

    /// Without its targets.
    private mutating func readRoute(of app: AppName) throws(WireError) -> RoutingTable.Route {
        let count = try readCount("routing.hosts", limit: WireLimits.hostsPerRoute, elementBytes: 1)
        var hosts: [String] = []
        hosts.reserveCapacity(count)
        for _ in 0..<count { hosts.append(try readText("routing.host", limit: WireLimits.hostBytes)) }
        let pathPrefix = try readText("routing.pathPrefix", limit: WireLimits.pathBytes)
        let method = Int(try readByte())
        guard Self.methods.indices.contains(method) else { throw .badValue(field: "routing.method") }
        let mask =
            Self.listenPortFlag | Self.tlsFlag | Self.maintenanceFlag | Self.allowFlag | Self.denyFlag
            | Self.secretsFlag | Self.activationFlag
        let flags = try readFlags("routing.flags", mask: mask)
        let port = flags & Self.listenPortFlag == 0 ? nil : Int(try readVarint("routing.listenPort", in: 1...65_535))
        let maxBody = try readVarint("routing.maxBodyBytes", in: 0...WireLimits.memoryBytes)
        let timeout = try readSmall("routing.readTimeoutSeconds")
        var routing = AppSpec.Routing(
            hosts: hosts, pathPrefix: pathPrefix, method: Self.methods[method], listenPort: port,
            maxBodyBytes: Int64(maxBody), readTimeoutSeconds: timeout)
        if flags & Self.tlsFlag != 0 { routing.tls = try readTLS() }
        if flags & Self.maintenanceFlag != 0 { routing.maintenance = try readMaintenance() }
        if flags & Self.allowFlag != 0 { routing.allow = try readRanges("routing.allow") }
        if flags & Self.denyFlag != 0 { routing.deny = try readRanges("routing.deny") }
        let secrets = flags & Self.secretsFlag == 0 ? [] : try readSecrets()
        let activation = flags & Self.activationFlag == 0 ? nil : try readActivation()
        return RoutingTable.Route(app: app, routing: routing, targets: [], secrets: secrets, activation: activation)
    }

    private mutating func readSecrets() throws(WireError) -> [SealedSecret] {
        let count = try readCount("route.secrets", limit: WireLimits.secretsPerRoute, elementBytes: 5)
        guard count > 0 else { throw .badValue(field: "route.secrets") }
        var secrets: [SealedSecret] = []
        for _ in 0..<count { secrets.append(try readSecret()) }
        return secrets
    }
}
