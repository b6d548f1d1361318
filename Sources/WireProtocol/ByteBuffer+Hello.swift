import NIOCore
import OrchestryModel

/// Bodies of the Hello exchange and of the election's messages.
extension ByteBuffer {
    mutating func writeHello(_ hello: Hello) throws(WireError) {
        writeBytes(Hello.magic)
        writeVarint(UInt64(hello.versions.lowerBound))
        writeVarint(UInt64(hello.versions.upperBound))
        try writeIdentifier(hello.cluster, "cluster")
        try writeNode(hello.node)
        writeInteger(hello.incarnation)
        writeInteger(hello.channel.rawValue)
        writeVarint(hello.features)
        try writeProof(hello.nonce, "nonce", orEmpty: true)
    }

    mutating func readHello() throws(WireError) -> Hello {
        guard let magic = readBytes(length: Hello.magic.count) else { throw .truncated }
        guard magic == Hello.magic else { throw .badValue(field: "magic") }
        let lowest = UInt16(try readVarint("minVersion", in: 1...UInt64(UInt16.max)))
        let highest = UInt16(try readVarint("maxVersion", in: UInt64(lowest)...UInt64(UInt16.max)))
        let cluster: ClusterID = try readIdentifier("cluster")
        let node = try readNode()
        let incarnation = try readFixed64()
        guard let channel = ChannelKind(rawValue: try readByte()) else { throw .badValue(field: "channel") }
        let features = try readVarint()
        return Hello(
            versions: lowest...highest, cluster: cluster, node: node, incarnation: incarnation, channel: channel,
            features: features, nonce: try readProof("nonce", orEmpty: true))
    }

    mutating func writeHelloAccepted(_ accepted: HelloAccepted) throws(WireError) {
        writeVarint(UInt64(accepted.version))
        try writeNode(accepted.node)
        writeInteger(accepted.incarnation)
        writeVarint(accepted.features)
    }

    mutating func readHelloAccepted() throws(WireError) -> HelloAccepted {
        let version = UInt16(try readVarint("version", in: 1...UInt64(UInt16.max)))
        let node = try readNode()
        let incarnation = try readFixed64()
        return HelloAccepted(version: version, node: node, incarnation: incarnation, features: try readVarint())
    }

    /// A byte string of 32 bytes, or, where allowed, of none.
    mutating func writeProof(_ proof: [UInt8], _ field: String, orEmpty: Bool = false) throws(WireError) {
        guard proof.count == WireLimits.proofBytes || (orEmpty && proof.isEmpty) else { throw .badValue(field: field) }
        try writeByteString(proof, field, limit: WireLimits.proofBytes)
    }

    mutating func readProof(_ field: String, orEmpty: Bool = false) throws(WireError) -> [UInt8] {
        let proof = try readByteString(field, limit: WireLimits.proofBytes)
        guard proof.count == WireLimits.proofBytes || (orEmpty && proof.isEmpty) else { throw .badValue(field: field) }
        return proof
    }

    mutating func writeNode(_ node: NodeInfo) throws(WireError) {
        guard (0...65_535).contains(node.clusterPort) else { throw .badValue(field: "node.clusterPort") }
        try writeIdentifier(node.id, "node.id")
        writeInteger(node.role.rawValue)
        try writeText(node.host, "node.host", limit: WireLimits.hostBytes)
        writeVarint(UInt64(node.clusterPort))
        try writeText(node.apiURL, "node.apiURL", limit: WireLimits.urlBytes)
    }

    mutating func readNode() throws(WireError) -> NodeInfo {
        let id: NodeID = try readIdentifier("node.id")
        guard let role = NodeInfo.Role(rawValue: try readByte()) else { throw .badValue(field: "node.role") }
        let host = try readText("node.host", limit: WireLimits.hostBytes)
        let port = try readVarint("node.clusterPort", in: 0...65_535)
        let url = try readText("node.apiURL", limit: WireLimits.urlBytes)
        return NodeInfo(id: id, role: role, host: host, clusterPort: Int(port), apiURL: url)
    }

    private mutating func readFixed64() throws(WireError) -> UInt64 {
        guard let value = readInteger(as: UInt64.self) else { throw .truncated }
        return value
    }

    // MARK: Election

    mutating func writeElection(_ message: ElectionMessage) {
        switch message {
        case .heartbeat(let epoch, let sentAt), .heartbeatAck(let epoch, let sentAt):
            writeVarint(epoch.rawValue)
            writeVarint(sentAt)
        case .voteRequest(let round): writeVarint(UInt64(round))
        case .voteReply(let round, let granted, let highestEpoch):
            writeVarint(UInt64(round))
            writeFlag(granted)
            writeVarint(highestEpoch.rawValue)
        case .released(let epoch): writeVarint(epoch.rawValue)
        }
    }

    /// - Parameter type: one of the five election types.
    mutating func readElection(_ type: MessageType) throws(WireError) -> ElectionMessage {
        switch type {
        case .heartbeat:
            let epoch = Epoch(try readVarint())
            return .heartbeat(epoch: epoch, sentAt: try readVarint())
        case .heartbeatAck:
            let epoch = Epoch(try readVarint())
            return .heartbeatAck(epoch: epoch, sentAt: try readVarint())
        case .voteRequest: return .voteRequest(round: try readRound())
        case .voteReply:
            let round = try readRound()
            let granted = try readFlag("granted")
            return .voteReply(round: round, granted: granted, highestEpoch: Epoch(try readVarint()))
        case .released: return .released(epoch: Epoch(try readVarint()))
        default: throw .unknownType(type.rawValue)
        }
    }

    private mutating func readRound() throws(WireError) -> UInt32 {
        UInt32(try readVarint("round", in: 0...UInt64(UInt32.max)))
    }
}
