import AsyncHTTPClient
import NIOHTTP1
import OrchestryModel

/// Something that happened to a container of this cluster and node.
package struct ContainerEvent: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case start
        /// The program ended. Whether memory ran out is told by `oom` before it, and by `inspect`.
        case die(exitCode: Int)
        case oom
        case stop
        /// Removed.
        case destroy
    }
    package var kind: Kind
    package var containerID: String
    package var instance: InstanceID
    package var app: AppName
    package var revision: Int
    package var time: WallTime

    package init(kind: Kind, containerID: String, instance: InstanceID, app: AppName, revision: Int, time: WallTime) {
        self.kind = kind
        self.containerID = containerID
        self.instance = instance
        self.app = app
        self.revision = revision
        self.time = time
    }
}

/// What the event stream gives.
package enum EngineEvent: Hashable, Sendable {
    /// The first element: from now on nothing is missed, so this is the moment to list what there is.
    case connected
    case container(ContainerEvent)
}

/// The engine's events for this cluster's and node's containers, one subscription for each iteration.
///
/// Ends without an error when the engine closes the stream, and throws `EngineError` when it fails: the caller reconnects,
/// after a pause. Nothing runs between calls of `next`: an iterator that is dropped gives its connection back.
package struct EngineEvents: AsyncSequence, Sendable {
    package typealias Element = EngineEvent
    let transport: EngineTransport
    let call: EngineTransport.Call
    /// Labels and values that an event must have: of several that are asked for, Podman takes any.
    let labels: [String: String]

    package func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(transport: transport, call: call, labels: labels)
    }

    package struct AsyncIterator: AsyncIteratorProtocol {
        let transport: EngineTransport
        let call: EngineTransport.Call
        let labels: [String: String]
        private var body: HTTPClientResponse.Body.AsyncIterator?
        private var lines = LineSplitter()
        /// Read and not yet given out, latest first.
        private var ready: [EngineEvent] = []

        init(transport: EngineTransport, call: EngineTransport.Call, labels: [String: String]) {
            self.transport = transport
            self.call = call
            self.labels = labels
        }

        /// - Throws: `EngineError`.
        package mutating func next() async throws -> EngineEvent? {
            guard var body else {
                self.body = try await transport.stream(call).makeAsyncIterator()
                return .connected
            }
            while ready.isEmpty {
                do {
                    guard let chunk = try await body.next() else { return nil }
                    ready = try lines.feed(chunk).compactMap { try Self.event($0, labels) }.reversed()
                } catch {
                    throw EngineTransport.translate(error, call.operation)
                }
            }
            self.body = body
            return ready.removeLast()
        }

        /// nil for what is of no interest.
        static func event(_ line: [UInt8], _ labels: [String: String]) throws -> EngineEvent? {
            guard !line.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }) else { return nil }
            let document = try EngineJSON.decode(EventDocument.self, from: line)
            let attributes = document.Actor.Attributes ?? [:]
            guard labels.allSatisfy({ attributes[$0.key] == $0.value }),
                let instance = attributes[ContainerLabels.instance].flatMap({ InstanceID(rawValue: $0) }),
                let app = attributes[ContainerLabels.app].flatMap({ AppName(rawValue: $0) }),
                let revision = attributes[ContainerLabels.revision].flatMap({ Int($0) }),
                let kind = kind(document.Action, attributes)
            else { return nil }
            return .container(
                ContainerEvent(
                    kind: kind, containerID: document.Actor.ID, instance: instance, app: app, revision: revision,
                    time: WallTime(milliseconds: (document.timeNano ?? 0) / 1_000_000)))
        }

        private static func kind(_ action: String, _ attributes: [String: String]) -> ContainerEvent.Kind? {
            switch action {
            case "start": .start
            // Podman writes `died` and `remove`, and `containerExitCode`.
            case "die", "died":
                .die(exitCode: (attributes["exitCode"] ?? attributes["containerExitCode"]).flatMap { Int($0) } ?? -1)
            case "oom": .oom
            case "stop": .stop
            case "destroy", "remove": .destroy
            default: nil
            }
        }
    }
}

extension DockerEngine {
    /// Subscribes to this cluster's and node's container events when iterated.
    /// - Parameter since: also replays what the engine remembers from then on; nil: only new events.
    package func events(since: WallTime? = nil) -> EngineEvents {
        let filters = EngineJSON.filters([
            "type": ["container"], "label": ownLabels,
            "event": ["start", "die", "oom", "stop", "destroy", "died", "remove"],
        ])
        var query = [(name: "filters", value: filters)]
        if let since {
            let fraction = String(since.milliseconds % 1_000)
            query.append(
                (
                    "since",
                    "\(since.milliseconds / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)"
                ))
        }
        return EngineEvents(
            transport: transport,
            call: EngineTransport.Call(
                operation: "follow the engine's events", method: .GET, path: "/events", query: query,
                timeout: configuration.requestTimeout),
            labels: [
                ContainerLabels.cluster: configuration.cluster.rawValue,
                ContainerLabels.node: configuration.node.rawValue,
            ])
    }
}
