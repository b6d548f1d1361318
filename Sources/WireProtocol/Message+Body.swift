import NIOCore
import OrchestryModel

extension Message {
    /// Reads the message of a frame; the body must be consumed exactly.
    public init(_ frame: Frame) throws(WireError) {
        var body = frame.body
        self = try Message.readBody(of: frame.type, from: &body)
        if case .hello(let hello) = self, hello.versions.upperBound > WireVersion.supported.upperBound {
            return  // A newer release may say more in its Hello; what follows the fields we know is not ours to judge.
        }
        guard body.readableBytes == 0 else { throw .spareBytes(body.readableBytes) }
    }

    static func readBody(of type: MessageType, from body: inout ByteBuffer) throws(WireError) -> Message {
        switch type {
        case .hello: return .hello(try body.readHello())
        case .helloAccepted: return .helloAccepted(try body.readHelloAccepted())
        case .helloChallenge:
            let nonce = try body.readProof("nonce")
            return .helloChallenge(nonce: nonce, proof: try body.readProof("proof"))
        case .helloProof: return .helloProof(try body.readProof("proof"))
        case .error:
            let code = try body.readVarint("error.code", in: 1...UInt64(UInt16.max))
            let text = try body.readText("error.message", limit: WireLimits.messageBytes)
            return .error(code: ErrorCode(rawValue: UInt16(code)), message: text)
        case .ping: return .ping
        case .pong: return .pong
        case .renew: return .renew
        case .heartbeat, .heartbeatAck, .voteRequest, .voteReply, .released:
            return .election(try body.readElection(type))
        case .inventory: return .inventory(try body.readInventory())
        case .instanceCommand:
            let epoch = Epoch(try body.readVarint())
            return .instanceCommand(epoch: epoch, command: try body.readCommand())
        case .commandAck: return .commandAck
        case .refused: return .refused(epoch: Epoch(try body.readVarint()))
        case .instanceStatus: return .instanceStatus(try body.readStatus())
        case .routingTable: return .routingTable(try body.readRoutingTable())
        case .routingAck: return .routingAck(try body.readRoutingVersion())
        case .sampleBatch: return .sampleBatch(try body.readSamples())
        case .eventBatch: return try body.readEventBatch()
        case .eventAck:
            let events = try body.readSequence("eventsUpTo")
            return .eventAck(eventsUpTo: events, decisionsUpTo: try body.readSequence("decisionsUpTo"))
        case .heldRequests: return .heldRequests(try body.readHeldRequests())
        case .forwardRequest:
            let deadline = try body.readVarint("deadline", in: 0...86_400_000)
            let request = try body.readCodable("request", as: ControlRequest.self)
            return .forwardRequest(request, deadlineMilliseconds: deadline)
        case .forwardResponse: return .forwardResponse(try body.readCodable("response", as: ControlResponse.self))
        case .logRequest: return try body.readLogRequest()
        case .logChunk: return try body.readLogChunk()
        case .execRequest:
            let session = try body.readVarint()
            return .execRequest(
                session: session, request: try body.readCodable("request", as: ControlRequest.self))
        case .execData:
            let session = try body.readVarint()
            let isToRunner = try body.readFlag("exec.isToRunner")
            return .execData(session: session, isToRunner: isToRunner, frame: try body.readExecFrame())
        }
    }

    func writeBody(into body: inout ByteBuffer) throws(WireError) {
        switch self {
        case .hello(let hello): try body.writeHello(hello)
        case .helloAccepted(let accepted): try body.writeHelloAccepted(accepted)
        case .helloChallenge(let nonce, let proof):
            try body.writeProof(nonce, "nonce")
            try body.writeProof(proof, "proof")
        case .helloProof(let proof): try body.writeProof(proof, "proof")
        case .error(let code, let text):
            body.writeVarint(UInt64(code.rawValue))
            body.writeCutText(text, limit: WireLimits.messageBytes)
        case .ping, .pong, .renew, .commandAck: break
        case .election(let message): body.writeElection(message)
        case .inventory(let inventory): try body.writeInventory(inventory)
        case .instanceCommand(let epoch, let command):
            body.writeVarint(epoch.rawValue)
            try body.writeCommand(command)
        case .refused(let epoch): body.writeVarint(epoch.rawValue)
        case .instanceStatus(let status): try body.writeStatus(status)
        case .routingTable(let table): try body.writeRoutingTable(table)
        case .routingAck(let version): body.writeRoutingVersion(version)
        case .sampleBatch(let samples):
            try body.writeCount(samples.count, "samples", limit: WireLimits.samplesPerBatch)
            for sample in samples { SampleCodec.encode(sample, into: &body) }
        case .eventBatch(let events, let decisions): try body.writeEventBatch(events, decisions)
        case .eventAck(let events, let decisions):
            try body.writeSequence(events, "eventsUpTo")
            try body.writeSequence(decisions, "decisionsUpTo")
        case .heldRequests(let held): try body.writeHeldRequests(held)
        case .forwardRequest(let request, let deadline):
            body.writeVarint(min(deadline, 86_400_000))
            try body.writeCodable(request)
        case .forwardResponse(let response): try body.writeCodable(response)
        case .logRequest(let instance, let tailLines):
            try body.writeIdentifier(instance, "instance")
            try body.writeCount(tailLines, "tailLines", limit: WireLimits.logLines)
        case .logChunk(let lines, let isLast):
            body.writeFlag(isLast)
            try body.writeCount(lines.count, "lines", limit: WireLimits.logLines)
            for line in lines { body.writeCutText(line, limit: WireLimits.logLineBytes) }
        case .execRequest(let session, let request):
            body.writeVarint(session)
            try body.writeCodable(request)
        case .execData(let session, let isToRunner, let frame):
            body.writeVarint(session)
            body.writeFlag(isToRunner)
            try body.writeExecFrame(frame)
        }
    }
}

extension ByteBuffer {
    fileprivate mutating func readSamples() throws(WireError) -> [Sample] {
        let count = try readCount(
            "samples", limit: WireLimits.samplesPerBatch, elementBytes: SampleCodec.minimumBytes)
        var samples: [Sample] = []
        samples.reserveCapacity(count)
        for _ in 0..<count { samples.append(try SampleCodec.decode(from: &self)) }
        return samples
    }

    fileprivate mutating func readHeldRequests() throws(WireError) -> HeldRequests {
        var held = HeldRequests(canHold: try readFlag("held.canHold"))
        let count = try readCount("held.apps", limit: WireLimits.heldApps, elementBytes: 3)
        for _ in 0..<count {
            let app: AppName = try readIdentifier("held.app")
            let requests = try readVarint("held.requests", in: 1...WireLimits.counter)
            held.waiting.append(HeldRequests.Waiting(app: app, requests: requests))
        }
        return held
    }

    fileprivate mutating func writeHeldRequests(_ held: HeldRequests) throws(WireError) {
        writeFlag(held.canHold)
        try writeCount(held.waiting.count, "held.apps", limit: WireLimits.heldApps)
        for entry in held.waiting {
            guard entry.requests > 0 else { throw .badValue(field: "held.requests") }
            try writeIdentifier(entry.app, "held.app")
            writeCounter(entry.requests)
        }
    }

    fileprivate mutating func readLogRequest() throws(WireError) -> Message {
        let instance: InstanceID = try readIdentifier("instance", limit: WireLimits.instanceBytes)
        let tail = try readVarint("tailLines", in: 0...UInt64(WireLimits.logLines))
        return .logRequest(instance: instance, tailLines: Int(tail))
    }

    fileprivate mutating func readLogChunk() throws(WireError) -> Message {
        let isLast = try readFlag("isLast")
        let count = try readCount("lines", limit: WireLimits.logLines, elementBytes: 1)
        var lines: [String] = []
        lines.reserveCapacity(count)
        for _ in 0..<count { lines.append(try readText("line", limit: WireLimits.logLineBytes)) }
        return .logChunk(lines: lines, isLast: isLast)
    }
}
