import NIOCore
import OrchestryModel

/// Body of EventBatch, and the sequences of EventAck.
extension ByteBuffer {
    /// 0…2⁶³−1.
    mutating func writeSequence(_ sequence: Int64, _ field: String) throws(WireError) {
        guard sequence >= 0 else { throw .badValue(field: field) }
        writeVarint(UInt64(sequence))
    }

    mutating func readSequence(_ field: String) throws(WireError) -> Int64 {
        Int64(try readVarint(field, in: 0...UInt64(Int64.max)))
    }

    mutating func writeEventBatch(_ events: [Event], _ decisions: [ScalingDecision]) throws(WireError) {
        try writeCount(events.count, "events", limit: WireLimits.eventsPerBatch)
        for event in events { try writeEvent(event) }
        try writeCount(decisions.count, "decisions", limit: WireLimits.eventsPerBatch)
        for decision in decisions { try writeDecision(decision) }
    }

    mutating func readEventBatch() throws(WireError) -> Message {
        let eventCount = try readCount("events", limit: WireLimits.eventsPerBatch, elementBytes: 9)
        var events: [Event] = []
        events.reserveCapacity(eventCount)
        for _ in 0..<eventCount { events.append(try readEvent()) }
        let decisionCount = try readCount("decisions", limit: WireLimits.eventsPerBatch, elementBytes: 13)
        var decisions: [ScalingDecision] = []
        decisions.reserveCapacity(decisionCount)
        for _ in 0..<decisionCount { decisions.append(try readDecision()) }
        return .eventBatch(events: events, decisions: decisions)
    }

    private mutating func writeEvent(_ event: Event) throws(WireError) {
        try writeIdentifier(event.node, "event.node")
        try writeSequence(event.sequence, "event.sequence")
        writeWallTime(event.time)
        // An empty name stands for "none": no app is called that.
        if let app = event.app { try writeIdentifier(app, "event.app") } else { writeVarint(0) }
        try writeText(event.kind, "event.kind", limit: WireLimits.kindBytes)
        writeCutText(event.message, limit: WireLimits.messageBytes)
        try writeDocument(event.details)
    }

    private mutating func readEvent() throws(WireError) -> Event {
        let node: NodeID = try readIdentifier("event.node")
        let sequence = try readSequence("event.sequence")
        let time = try readWallTime("event.time")
        let name = try readText("event.app", limit: WireLimits.identifierBytes)
        let app = AppName(rawValue: name)
        guard name.isEmpty || app != nil else { throw .badValue(field: "event.app") }
        let kind = try readText("event.kind", limit: WireLimits.kindBytes, minimum: 1)
        let message = try readText("event.message", limit: WireLimits.messageBytes)
        return Event(
            node: node, sequence: sequence, time: time, app: app, kindName: kind, message: message,
            details: try readDocument())
    }

    private mutating func writeDecision(_ decision: ScalingDecision) throws(WireError) {
        try writeIdentifier(decision.node, "decision.node")
        try writeSequence(decision.sequence, "decision.sequence")
        writeVarint(decision.epoch.rawValue)
        writeWallTime(decision.time)
        try writeIdentifier(decision.app, "decision.app")
        try writeSmall(decision.fromReplicas, "decision.fromReplicas")
        try writeSmall(decision.toReplicas, "decision.toReplicas")
        writeCutText(decision.reason, limit: WireLimits.messageBytes)
        try writeText(decision.triggeredBy, "decision.triggeredBy", limit: WireLimits.kindBytes)
        try writeDocument(decision.metrics)
        try writeDocument(decision.explanation)
    }

    private mutating func readDecision() throws(WireError) -> ScalingDecision {
        let node: NodeID = try readIdentifier("decision.node")
        let sequence = try readSequence("decision.sequence")
        let epoch = Epoch(try readVarint())
        let time = try readWallTime("decision.time")
        let app: AppName = try readIdentifier("decision.app")
        let from = try readSmall("decision.fromReplicas")
        let to = try readSmall("decision.toReplicas")
        let reason = try readText("decision.reason", limit: WireLimits.messageBytes)
        let trigger = try readText("decision.triggeredBy", limit: WireLimits.kindBytes)
        let metrics = try readDocument()
        return ScalingDecision(
            node: node, sequence: sequence, epoch: epoch, time: time, app: app, fromReplicas: from, toReplicas: to,
            reason: reason, triggeredBy: trigger, metrics: metrics, explanation: try readDocument())
    }
}
