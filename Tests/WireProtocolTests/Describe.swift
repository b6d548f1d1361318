import NIOCore
import OrchestryModel
import WireProtocol

/// One line for each message, for the lower half of the vectors: its name, and its fields as JSON, named and ordered as
/// in `proto-spec/messages.md`. Absent fields are left out.
func describe(_ message: Message) -> String { "\(messageName(message.type)) \(body(message))" }

/// As in messages.md.
func messageName(_ type: MessageType) -> String {
    let name = String(describing: type)
    return name.prefix(1).uppercased() + name.dropFirst()
}

private func body(_ message: Message) -> String {
    switch message {
    case .hello(let hello):
        return object([
            "lowest version": "\(hello.versions.lowerBound)", "highest version": "\(hello.versions.upperBound)",
            "cluster": text(hello.cluster), "node": node(hello.node), "incarnation": "\(hello.incarnation)",
            "channel": quoted(hello.channel.description), "features": "\(hello.features)",
            "nonce": bytes(hello.nonce),
        ])
    case .helloChallenge(let nonce, let proof): return object(["nonce": bytes(nonce), "proof": bytes(proof)])
    case .helloProof(let proof): return object(["proof": bytes(proof)])
    case .helloAccepted(let accepted):
        return object([
            "version": "\(accepted.version)", "node": node(accepted.node), "incarnation": "\(accepted.incarnation)",
            "features": "\(accepted.features)",
        ])
    case .error(let code, let message): return object(["code": "\(code.rawValue)", "message": quoted(message)])
    case .ping, .pong, .renew, .commandAck: return "{}"
    case .election(let message): return election(message)
    case .inventory(let inventory):
        return object([
            "node": text(inventory.node), "highest epoch": "\(inventory.highestEpoch.rawValue)",
            "capacity CPU": "\(inventory.capacityMillicores)", "capacity memory": "\(inventory.capacityMemoryBytes)",
            "engine available": "\(inventory.engineAvailable)", "instances": list(inventory.instances, status),
        ])
    case .instanceCommand(let epoch, let command): return describe(command, epoch)
    case .refused(let epoch): return object(["epoch": "\(epoch.rawValue)"])
    case .instanceStatus(let value): return status(value)
    case .routingTable(let table):
        return object([
            "epoch": "\(table.version.epoch.rawValue)", "number": "\(table.version.number)",
            "routes": list(table.routes, route),
        ])
    case .routingAck(let version):
        return object(["epoch": "\(version.epoch.rawValue)", "number": "\(version.number)"])
    case .sampleBatch(let samples): return object(["samples": list(samples, sample)])
    case .eventBatch(let events, let decisions):
        return object(["events": list(events, event), "decisions": list(decisions, decision)])
    case .eventAck(let events, let decisions): return object(["events": "\(events)", "decisions": "\(decisions)"])
    case .heldRequests(let held):
        return object([
            "can hold": "\(held.canHold)",
            "waiting": list(held.waiting) { object(["app": text($0.app), "requests": "\($0.requests)"]) },
        ])
    case .forwardRequest(let request, let deadline):
        return object(["deadline": "\(deadline)", "request": codable(request)])
    case .forwardResponse(let response): return object(["response": codable(response)])
    case .logRequest(let instance, let lines): return object(["instance": text(instance), "lines": "\(lines)"])
    case .logChunk(let lines, let isLast): return object(["last": "\(isLast)", "lines": list(lines, quoted)])
    case .execRequest(let session, let request):
        return object(["session": "\(session)", "request": codable(request)])
    case .execData(let session, let isToRunner, let frame):
        return "{\"session\": \(session), \"to runner\": \(isToRunner), " + describe(frame).dropFirst()
    }
}

private func describe(_ frame: ExecFrame) -> String {
    func data(_ kind: String, _ buffer: ByteBuffer) -> String {
        object(["kind": quoted(kind), "bytes": bytes(Array(buffer.readableBytesView))])
    }
    switch frame {
    case .input(let buffer): return data("input", buffer)
    case .output(let buffer): return data("output", buffer)
    case .errors(let buffer): return data("errors", buffer)
    case .resize(let size):
        return object(["kind": quoted("resize"), "columns": "\(size.columns)", "rows": "\(size.rows)"])
    case .endOfInput: return object(["kind": quoted("end of input")])
    case .credit(let bytes): return object(["kind": quoted("credit"), "credit": "\(bytes)"])
    case .exited(let status): return object(["kind": quoted("exited"), "status": "\(status)"])
    case .ended(let reason): return object(["kind": quoted("ended"), "reason": quoted(reason)])
    }
}

private func election(_ message: ElectionMessage) -> String {
    switch message {
    case .heartbeat(let epoch, let sentAt), .heartbeatAck(let epoch, let sentAt):
        object(["epoch": "\(epoch.rawValue)", "sent at": "\(sentAt)"])
    case .voteRequest(let round): object(["round": "\(round)"])
    case .voteReply(let round, let granted, let highest):
        object(["round": "\(round)", "granted": "\(granted)", "highest epoch": "\(highest.rawValue)"])
    case .released(let epoch): object(["epoch": "\(epoch.rawValue)"])
    }
}

private func sealed(_ secret: SealedSecret) -> String {
    object([
        "name": text(secret.name), "version": "\(secret.version)", "key id": quoted(secret.keyID),
        "box": quoted(secret.box),
    ])
}

private func describe(_ command: InstanceCommand, _ epoch: Epoch) -> String {
    let epoch = "\(epoch.rawValue)"
    switch command {
    case .run(let run):
        return object([
            "epoch": epoch, "kind": quoted("run"), "instance": text(run.instance), "revision": "\(run.revision)",
            "node": text(run.node), "replicas": "\(run.replicas)", "spec": codable(run.spec),
            "secrets": list(run.secrets, sealed),
        ])
    case .stop(let instance, let grace):
        return object([
            "epoch": epoch, "kind": quoted("stop"), "instance": text(instance), "grace": "\(grace)",
        ])
    case .retry(let instance):
        return object(["epoch": epoch, "kind": quoted("retry"), "instance": text(instance)])
    }
}

private func node(_ info: NodeInfo) -> String {
    object([
        "id": text(info.id), "role": quoted(info.role == .controller ? "controller" : "worker"),
        "host": quoted(info.host), "cluster port": "\(info.clusterPort)", "API URL": quoted(info.apiURL),
    ])
}

private func endpoint(_ endpoint: Endpoint) -> String {
    object(["host": quoted(endpoint.host), "port": "\(endpoint.port)"])
}

private let states = [
    "pending", "pulling", "starting", "ready", "unhealthy", "draining", "stopped", "crash-looping",
]

private func status(_ status: InstanceStatus) -> String {
    object([
        "instance": text(status.instance), "app": text(status.app), "revision": "\(status.revision)",
        "node": text(status.node), "state": quoted(states[Int(status.state.rawValue)]),
        "out of memory": status.outOfMemory ? "true" : nil, "container id": status.containerID.map(quoted),
        "endpoint": status.endpoint.map(endpoint), "restarts": "\(status.restarts)", "failures": "\(status.failures)",
        "exit code": status.exitCode.map { "\($0)" }, "message": quoted(status.message),
        "started at": status.startedAt.map { "\($0.milliseconds)" },
        "last probe": status.lastProbeAt.map { "\($0.milliseconds)" }, "since": "\(status.since.milliseconds)",
    ])
}

private func route(_ route: RoutingTable.Route) -> String {
    let methods: [AppSpec.Routing.Method: String] = [
        .leastConnections: "least connections", .ipHash: "by client address", .random: "random",
    ]
    return object([
        "app": text(route.app), "hosts": list(route.routing.hosts, quoted),
        "path prefix": quoted(route.routing.pathPrefix), "method": methods[route.routing.method].map(quoted),
        "listen port": route.routing.listenPort.map { "\($0)" },
        "largest request body": "\(route.routing.maxBodyBytes)", "read time-out": "\(route.routing.readTimeoutSeconds)",
        "TLS": route.routing.tls.map { tls in
            object([
                "certificate": text(tls.certificateSecret), "key": text(tls.keySecret),
                "redirect": tls.redirect ? "true" : "false",
            ])
        },
        "maintenance": route.routing.maintenance.map {
            object(["retry after": "\($0.retryAfterSeconds)", "message": quoted($0.message ?? "")])
        },
        "allow": route.routing.allow.map { list($0) { quoted($0.rawValue) } },
        "deny": route.routing.deny.map { list($0) { quoted($0.rawValue) } },
        "secrets": route.secrets.isEmpty ? nil : list(route.secrets, sealed),
        "activation": route.activation.map {
            object(["holds": "\($0.holds)", "hold": "\($0.holdSeconds)", "limit": "\($0.holdLimit)"])
        },
        "targets": list(route.targets) { target in
            object([
                "instance": text(target.instance), "endpoint": endpoint(target.endpoint), "weight": "\(target.weight)",
            ])
        },
    ])
}

private func sample(_ sample: Sample) -> String {
    object([
        "layout": "1", "app": text(sample.app), "node": text(sample.node), "second": "\(sample.second)",
        "interval": number(sample.interval), "requests": "\(sample.requests)",
        "statuses": list(sample.statusClasses) { "\($0)" }, "request seconds": number(sample.requestSeconds),
        "in flight": "\(sample.inFlight)", "latency": list(sample.latency.buckets) { "[\($0.index), \($0.count)]" },
        "instances": list(sample.instances) { instance in
            object([
                "instance": text(instance.instance), "CPU": instance.cpuPercent.map(number),
                "memory": instance.memoryPercent.map(number), "requests": "\(instance.requests)",
                "errors": "\(instance.errors)", "in flight": "\(instance.inFlight)",
                "latency": instance.latency.map { list($0.buckets) { "[\($0.index), \($0.count)]" } },
            ])
        },
    ])
}

private func event(_ event: Event) -> String {
    object([
        "node": text(event.node), "sequence": "\(event.sequence)", "time": "\(event.time.milliseconds)",
        "app": quoted(event.app?.rawValue ?? ""), "kind": quoted(event.kind), "message": quoted(event.message),
        "details": document(event.details),
    ])
}

private func decision(_ decision: ScalingDecision) -> String {
    object([
        "node": text(decision.node), "sequence": "\(decision.sequence)", "epoch": "\(decision.epoch.rawValue)",
        "time": "\(decision.time.milliseconds)", "app": text(decision.app), "from": "\(decision.fromReplicas)",
        "to": "\(decision.toReplicas)", "reason": quoted(decision.reason), "triggered by": quoted(decision.triggeredBy),
        "metrics": document(decision.metrics), "explanation": document(decision.explanation),
    ])
}

// MARK: JSON

private func object(_ members: KeyValuePairs<String, String?>) -> String {
    "{" + members.compactMap { name, value in value.map { "\(quoted(name)): \($0)" } }.joined(separator: ", ") + "}"
}

private func list<Element>(_ items: [Element], _ describe: (Element) -> String) -> String {
    "[" + items.map(describe).joined(separator: ", ") + "]"
}

/// The form its `Codable` conformance gives it, as it goes over the wire.
private func codable(_ value: some Encodable) -> String {
    // Nothing that was decoded refuses to be encoded; if it did, the line would say so and the test fail.
    guard let encoded = try? DocumentEncoder.encode(value) else { return "\(type(of: value)) can't be encoded" }
    return document(encoded)
}

private func document(_ document: JSONValue) -> String {
    switch document {
    case .null: return "null"
    case .bool(let value): return "\(value)"
    case .int(let value): return "\(value)"
    case .double(let value): return number(value)
    case .string(let value): return quoted(value)
    case .array(let items): return list(items, WireProtocolTests.document)
    case .object(let members):
        let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        return "{" + sorted.map { "\(quoted($0)): \(WireProtocolTests.document($1))" }.joined(separator: ", ") + "}"
    }
}

/// The shortest decimal form that reads back as the same number; with an exponent from 10¹⁶ on, as Python has it.
private func number(_ value: Double) -> String {
    let text = String(describing: value)
    guard value.magnitude >= 1e16, !text.contains("e") else { return text }
    let digits = text.drop { $0 == "-" }.dropLast(2)
    var fraction = digits.dropFirst()
    while fraction.last == "0" { fraction.removeLast() }
    let mantissa = digits.prefix(1) + (fraction.isEmpty ? "" : "." + fraction)
    return (value < 0 ? "-" : "") + mantissa + "e+\(digits.count - 1)"
}

private func text(_ identifier: some Identifier) -> String { quoted(identifier.rawValue) }

private func bytes(_ bytes: [UInt8]) -> String { quoted(bytes.map(hex).joined()) }

private func quoted(_ text: String) -> String {
    let escapes: [Unicode.Scalar: String] = [
        "\"": "\\\"", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u{8}": "\\b", "\u{c}": "\\f",
    ]
    return "\""
        + text.unicodeScalars.map { scalar in
            escapes[scalar] ?? (scalar.value < 0x20 ? "\\u00" + hex(UInt8(scalar.value)) : String(scalar))
        }.joined() + "\""
}

func hex(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
}
