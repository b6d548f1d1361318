import NIOCore
import OrchestryModel

/// Bodies of Inventory, InstanceCommand and InstanceStatus.
extension ByteBuffer {
    /// Which optional fields of a status follow, and one Boolean.
    private enum StatusFlags {
        static let container: UInt8 = 1
        static let endpoint: UInt8 = 2
        static let exitCode: UInt8 = 4
        static let startedAt: UInt8 = 8
        static let lastProbeAt: UInt8 = 16
        static let outOfMemory: UInt8 = 32
        static let mask: UInt8 = 63
    }

    mutating func writeStatus(_ status: InstanceStatus) throws(WireError) {
        let flags = StatusFlags.self
        try writeIdentifier(status.instance, "instance")
        try writeIdentifier(status.app, "app")
        try writeSmall(status.revision, "revision")
        try writeIdentifier(status.node, "node")
        writeInteger(status.state.rawValue)
        writeInteger(
            (status.containerID == nil ? 0 : flags.container) | (status.endpoint == nil ? 0 : flags.endpoint)
                | (status.exitCode == nil ? 0 : flags.exitCode) | (status.startedAt == nil ? 0 : flags.startedAt)
                | (status.lastProbeAt == nil ? 0 : flags.lastProbeAt) | (status.outOfMemory ? flags.outOfMemory : 0))
        if let container = status.containerID {
            try writeText(container, "containerID", limit: WireLimits.instanceBytes)
        }
        if let endpoint = status.endpoint { try writeEndpoint(endpoint) }
        try writeSmall(status.restarts, "restarts")
        try writeSmall(status.failures, "failures")
        if let exitCode = status.exitCode { writeZigzag(Int64(Int32(clamping: exitCode))) }
        writeCutText(status.message, limit: WireLimits.messageBytes)
        if let startedAt = status.startedAt { writeWallTime(startedAt) }
        if let lastProbeAt = status.lastProbeAt { writeWallTime(lastProbeAt) }
        writeWallTime(status.since)
    }

    mutating func readStatus() throws(WireError) -> InstanceStatus {
        let known = StatusFlags.self
        let instance: InstanceID = try readIdentifier("instance", limit: WireLimits.instanceBytes)
        let app: AppName = try readIdentifier("app")
        let revision = try readSmall("revision")
        let node: NodeID = try readIdentifier("node")
        guard let state = InstanceState(rawValue: try readByte()) else { throw .badValue(field: "state") }
        let flags = try readFlags("status.flags", mask: known.mask)
        var status = InstanceStatus(
            instance: instance, app: app, revision: revision, node: node, state: state,
            since: WallTime(milliseconds: 0))
        status.outOfMemory = flags & known.outOfMemory != 0
        if flags & known.container != 0 {
            status.containerID = try readText("containerID", limit: WireLimits.instanceBytes)
        }
        if flags & known.endpoint != 0 { status.endpoint = try readEndpoint() }
        status.restarts = try readSmall("restarts")
        status.failures = try readSmall("failures")
        if flags & known.exitCode != 0 {
            guard let code = Int32(exactly: try readZigzag()) else { throw .badValue(field: "exitCode") }
            status.exitCode = Int(code)
        }
        status.message = try readText("message", limit: WireLimits.messageBytes)
        if flags & known.startedAt != 0 { status.startedAt = try readWallTime("startedAt") }
        if flags & known.lastProbeAt != 0 { status.lastProbeAt = try readWallTime("lastProbeAt") }
        status.since = try readWallTime("since")
        return status
    }

    mutating func writeInventory(_ inventory: Inventory) throws(WireError) {
        try writeIdentifier(inventory.node, "node")
        writeVarint(inventory.highestEpoch.rawValue)
        try writeSmall(inventory.capacityMillicores, "capacityMillicores")
        guard (0...Int64(WireLimits.memoryBytes)).contains(inventory.capacityMemoryBytes) else {
            throw .badValue(field: "capacityMemoryBytes")
        }
        writeVarint(UInt64(inventory.capacityMemoryBytes))
        writeFlag(inventory.engineAvailable)
        try writeCount(inventory.instances.count, "instances", limit: WireLimits.instancesPerInventory)
        for status in inventory.instances { try writeStatus(status) }
    }

    mutating func readInventory() throws(WireError) -> Inventory {
        let node: NodeID = try readIdentifier("node")
        let epoch = Epoch(try readVarint())
        let millicores = try readSmall("capacityMillicores")
        let memory = try readVarint("capacityMemoryBytes", in: 0...WireLimits.memoryBytes)
        let engineAvailable = try readFlag("engineAvailable")
        let count = try readCount("instances", limit: WireLimits.instancesPerInventory, elementBytes: 13)
        var instances: [InstanceStatus] = []
        instances.reserveCapacity(count)
        for _ in 0..<count { instances.append(try readStatus()) }
        return Inventory(
            node: node, highestEpoch: epoch, capacityMillicores: millicores, capacityMemoryBytes: Int64(memory),
            engineAvailable: engineAvailable, instances: instances)
    }

    mutating func writeCommand(_ command: InstanceCommand) throws(WireError) {
        switch command {
        case .run(let assignment):
            writeInteger(UInt8(1))
            try writeIdentifier(assignment.instance, "instance")
            try writeSmall(assignment.revision, "revision")
            try writeIdentifier(assignment.node, "node")
            try writeSmall(assignment.replicas, "replicas")
            try writeCodable(assignment.spec)
            try writeCount(assignment.secrets.count, "secrets", limit: WireLimits.secretsPerRun)
            for secret in assignment.secrets { try writeSecret(secret) }
        case .stop(let instance, let graceSeconds):
            guard (0...600).contains(graceSeconds) else { throw .badValue(field: "graceSeconds") }
            writeInteger(UInt8(2))
            try writeIdentifier(instance, "instance")
            writeVarint(UInt64(graceSeconds))
        case .retry(let instance):
            writeInteger(UInt8(3))
            try writeIdentifier(instance, "instance")
        }
    }

    mutating func readCommand() throws(WireError) -> InstanceCommand {
        let kind = try readByte()
        guard (1...3).contains(kind) else { throw .badValue(field: "command") }
        let instance: InstanceID = try readIdentifier("instance", limit: WireLimits.instanceBytes)
        if kind == 2 {
            return .stop(instance, graceSeconds: Int(try readVarint("graceSeconds", in: 0...600)))
        }
        if kind == 3 { return .retry(instance) }
        let revision = try readSmall("revision")
        let node: NodeID = try readIdentifier("node")
        let replicas = try readSmall("replicas")
        let spec = try readCodable("spec", as: AppSpec.self)
        let count = try readCount("secrets", limit: WireLimits.secretsPerRun, elementBytes: 5)
        var secrets: [SealedSecret] = []
        secrets.reserveCapacity(count)
        for _ in 0..<count { secrets.append(try readSecret()) }
        return .run(
            Assignment(
                instance: instance, revision: revision, node: node, spec: spec, replicas: replicas, secrets: secrets))
    }

    mutating func writeSecret(_ secret: SealedSecret) throws(WireError) {
        try writeIdentifier(secret.name, "secret.name")
        try writeSmall(secret.version, "secret.version")
        try writeText(secret.keyID, "secret.keyID", limit: WireLimits.identifierBytes)
        try writeText(secret.box, "secret.box", limit: WireLimits.secretBoxBytes)
    }

    mutating func readSecret() throws(WireError) -> SealedSecret {
        let name: SecretName = try readIdentifier("secret.name")
        let version = try readSmall("secret.version")
        let keyID = try readText("secret.keyID", limit: WireLimits.identifierBytes, minimum: 1)
        return SealedSecret(
            name: name, version: version, keyID: keyID,
            box: try readText("secret.box", limit: WireLimits.secretBoxBytes, minimum: 1))
    }

    mutating func writeEndpoint(_ endpoint: Endpoint) throws(WireError) {
        guard (1...65_535).contains(endpoint.port) else { throw .badValue(field: "endpoint.port") }
        try writeText(endpoint.host, "endpoint.host", limit: WireLimits.addressBytes)
        writeVarint(UInt64(endpoint.port))
    }

    mutating func readEndpoint() throws(WireError) -> Endpoint {
        let host = try readText("endpoint.host", limit: WireLimits.addressBytes, minimum: 1)
        return Endpoint(host: host, port: Int(try readVarint("endpoint.port", in: 1...65_535)))
    }
}
