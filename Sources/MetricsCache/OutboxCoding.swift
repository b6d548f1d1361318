import Foundation
import OrchestryModel

/// Events and decisions as they lie in the outbox: JSON, so that an operator can read them with `sqlite3`, and so that
/// a release with more fields can read what an earlier one left.
enum OutboxCoding {
    static func encode(_ event: Event) -> [UInt8] {
        let value: JSONValue = [
            "time": .int(event.time.milliseconds), "app": JSONValue(event.app?.rawValue), "kind": .string(event.kind),
            "message": .string(event.message), "details": readable(event.details),
        ]
        return value.jsonBytes()
    }

    static func encode(_ decision: ScalingDecision) -> [UInt8] {
        let value: JSONValue = [
            "time": .int(decision.time.milliseconds), "app": .string(decision.app.rawValue),
            "epoch": .int(Int64(clamping: decision.epoch.rawValue)), "from": JSONValue(decision.fromReplicas),
            "to": JSONValue(decision.toReplicas), "reason": .string(decision.reason),
            "triggeredBy": .string(decision.triggeredBy), "metrics": readable(decision.metrics),
            "explanation": readable(decision.explanation),
        ]
        return value.jsonBytes()
    }

    /// What could not be read back (nested too deeply) is left out now, when the event itself can still be kept.
    private static func readable(_ value: JSONValue) -> JSONValue {
        let wrapped = JSONValue.array([value]).jsonBytes()
        return parse(wrapped) == nil ? "left out: can't be written as JSON that can be read back" : value
    }

    static func decodeEvent(
        _ body: [UInt8], node: NodeID, sequence: Int64, path: String
    ) throws(OutboxError) -> Event {
        guard let value = parse(body), let time = value["time"]?.intValue, let kind = value["kind"]?.stringValue,
            let message = value["message"]?.stringValue, let details = value["details"]
        else { throw .damaged(path: path, reason: "event \(sequence) can't be read") }
        return Event(
            node: node, sequence: sequence, time: WallTime(milliseconds: Int64(time)),
            app: value["app"]?.stringValue.map { AppName(unchecked: $0) }, kindName: kind, message: message,
            details: details)
    }

    static func decodeDecision(
        _ body: [UInt8], node: NodeID, sequence: Int64, path: String
    ) throws(OutboxError) -> ScalingDecision {
        guard let value = parse(body), let time = value["time"]?.intValue, let app = value["app"]?.stringValue,
            let epoch = value["epoch"]?.intValue, let source = value["from"]?.intValue,
            let target = value["to"]?.intValue, let reason = value["reason"]?.stringValue,
            let triggeredBy = value["triggeredBy"]?.stringValue
        else { throw .damaged(path: path, reason: "decision \(sequence) can't be read") }
        return ScalingDecision(
            node: node, sequence: sequence, epoch: Epoch(UInt64(clamping: epoch)),
            time: WallTime(milliseconds: Int64(time)), app: AppName(unchecked: app), fromReplicas: source,
            toReplicas: target, reason: reason, triggeredBy: triggeredBy, metrics: value["metrics"] ?? .null,
            explanation: value["explanation"] ?? .null)
    }

    private static func parse(_ body: [UInt8]) -> JSONValue? {
        // The caller says which row it was; where in its text does not help anybody.
        try? JSONValue(json: body)
    }
}
